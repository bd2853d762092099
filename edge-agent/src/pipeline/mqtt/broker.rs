//! Where a broker is, who we are there, and a client for it.

use std::fmt;
use std::str::FromStr;

use millwright_pipeline::Broker;
use rumqttc::{AsyncClient, EventLoop, MqttOptions, TlsConfiguration, Transport};
use thiserror::Error;

use super::super::tls::{self, SecretError};
use super::{REQUESTS_WAITING_MAX, connection};

/// Whether what was not acknowledged is kept by the broker when the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Session {
    /// For a source with QoS 1.
    Kept,
    /// For a sink, and a source that may lose messages.
    Clean,
}

/// A broker and who we are there.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Login {
    pub(in crate::pipeline) broker: String,
    pub(in crate::pipeline) client_id: String,
    pub(in crate::pipeline) username: Option<String>,
    pub(in crate::pipeline) password_file: Option<String>,
    pub(in crate::pipeline) ca_file: Option<String>,
    pub(in crate::pipeline) session: Session,
}

/// `mqtt://host:port` or `mqtts://host:port`; the port is 1883 or 8883 if left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BrokerAddress {
    host: String,
    port: u16,
    secure: bool,
}

/// Why no client can be made.
#[derive(Debug, Error)]
pub(in crate::pipeline) enum LoginError {
    /// No address.
    #[error("broker `{0}` must be mqtt://HOST:PORT or mqtts://HOST:PORT")]
    Address(String),
    /// A file cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Login {
    pub(in crate::pipeline) fn new(
        broker: &Broker<'_>,
        client_id: String,
        session: Session,
    ) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            broker: broker.broker.to_owned(),
            client_id,
            username: owned(broker.username),
            password_file: owned(broker.password_file),
            ca_file: broker.tls.and_then(|tls| tls.ca_file.clone()),
            session,
        }
    }
}

/// A client that is not connected yet, and the event loop that connects it when polled.
pub(in crate::pipeline) fn start_client(
    login: &Login,
) -> Result<(AsyncClient, EventLoop), LoginError> {
    let address: BrokerAddress = login.broker.parse()?;
    let mut options = MqttOptions::new(&login.client_id, &address.host, address.port);
    options
        .set_clean_session(login.session == Session::Clean)
        .set_manual_acks(true)
        .set_keep_alive(connection::KEEP_ALIVE)
        .set_max_packet_size(connection::PACKET_BYTES_MAX, connection::PACKET_BYTES_MAX);
    if let Some(username) = &login.username {
        let password = match &login.password_file {
            Some(path) => tls::secret(path)?,
            None => String::new(),
        };
        options.set_credentials(username, password);
    }
    if address.secure {
        let config = tls::client(login.ca_file.as_deref())?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
    }
    let (client, mut events) = AsyncClient::new(options, REQUESTS_WAITING_MAX);
    // A result and its acknowledgement are two small packets: the second must not wait for an answer to the first.
    events.network_options.set_tcp_nodelay(true);
    Ok((client, events))
}

impl FromStr for BrokerAddress {
    type Err = LoginError;

    fn from_str(text: &str) -> Result<Self, LoginError> {
        let malformed = || LoginError::Address(text.to_owned());
        let (rest, secure) = match (text.strip_prefix("mqtts://"), text.strip_prefix("mqtt://")) {
            (Some(rest), _) => (rest, true),
            (None, Some(rest)) => (rest, false),
            (None, None) => return Err(malformed()),
        };
        let rest = rest.trim_end_matches('/');
        // The last colon is the port's, unless it is inside the brackets of an IPv6 address.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| malformed())?)
            }
            Some(_) | None => (rest, if secure { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(malformed());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            secure,
        })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests;
