//! Which proxy, as it is written: `http://[user:password@]host[:port]`, or `direct`.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use serde::Deserialize;
use thiserror::Error;

/// Port of a proxy that names none, as URLs have it.
const PORT: u16 = 80;

/// Why a text names no proxy. Says nothing of the text itself: there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyUrlError {
    /// SOCKS, or TLS to the proxy itself.
    #[error(
        "the proxy (cloud.proxy or HTTPS_PROXY) must be an http:// one: others are not supported"
    )]
    Scheme,
    /// No host, or more than a host and a port.
    #[error(
        "the proxy (cloud.proxy or HTTPS_PROXY) must be written as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"
    )]
    Form,
    /// What Basic authentication cannot carry.
    #[error(
        "user and password of the proxy (cloud.proxy or HTTPS_PROXY) cannot be read: write special characters as %XX, and no colon in the user's name"
    )]
    User,
}

/// What `cloud.proxy` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ProxySetting {
    /// `direct`: no proxy, whatever the environment says.
    Direct,
    /// This one, for everything.
    Through(ProxyUrl),
}

impl TryFrom<String> for ProxySetting {
    type Error = ProxyUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "direct" => Ok(Self::Direct),
            other => other.parse().map(Self::Through),
        }
    }
}

/// A proxy. `Display` and `Debug` show host and port only.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl ProxyUrl {
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Proxy-Authorization`, marked as not to be shown.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(ProxyUrlError::Scheme),
            None => text,
        };
        let rest = rest.trim_end_matches('/');
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let (host, port) = match address.rsplit_once(':') {
            // The colons of an address like [::1] are no port.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| ProxyUrlError::Form)?)
            }
            Some(_) | None => (address, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || port == 0 || !host.chars().all(allowed) {
            return Err(ProxyUrlError::Form);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            authorization: user.map(basic).transpose()?,
        })
    }
}

/// Basic authentication (RFC 7617).
fn basic(user_and_password: &str) -> Result<HeaderValue, ProxyUrlError> {
    let (user, password) = user_and_password
        .split_once(':')
        .unwrap_or((user_and_password, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    if user.contains(&b':') {
        return Err(ProxyUrlError::User);
    }
    let pair = [user.as_slice(), b":", &password].concat();
    let value = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(value).map_err(|_| ProxyUrlError::User)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Resolves `%XX`.
fn decoded(text: &str) -> Result<Vec<u8>, ProxyUrlError> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(ProxyUrlError::User)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).map_err(|_| ProxyUrlError::User)?;
        bytes.extend(byte);
        rest = after;
    }
    Ok(bytes)
}

impl std::fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::authority(&self.host, self.port))
    }
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}
