//! The secret that lets people from other machines see the page.

use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use thiserror::Error;

use crate::data_dir::{PRIVATE, read_if_present, replace_file};

/// Shortest token a person may choose: it must not be guessed.
const CHARS_MIN: usize = 16;

/// Longest token; a line a person can still copy.
const CHARS_MAX: usize = 256;

/// Random bytes of a token made here.
const RANDOM_BYTES: usize = 16;

/// What a browser's cookie proves, so that the token itself is in no browser.
const COOKIE_CONTEXT: &[u8] = b"millwright camera page cookie 1";

/// A token. It cannot be printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PageToken(String);

/// Why a token is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the page's token must have {CHARS_MIN} to {CHARS_MAX} printable characters without spaces, for example from `openssl rand -hex 16`"
)]
pub struct PageTokenError;

impl std::fmt::Debug for PageToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PageToken(..)")
    }
}

impl TryFrom<String> for PageToken {
    type Error = PageTokenError;

    fn try_from(text: String) -> Result<Self, PageTokenError> {
        let is_whole = (CHARS_MIN..=CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_whole {
            Ok(Self(text))
        } else {
            Err(PageTokenError)
        }
    }
}

impl PageToken {
    /// Whether `text` is this token. Takes as long for a near miss as for any other.
    pub(super) fn is(&self, text: &str) -> bool {
        // Both are hashed with the same key, so that neither length nor first difference show in the time.
        let key = hmac::Key::new(hmac::HMAC_SHA256, COOKIE_CONTEXT);
        let expected = hmac::sign(&key, self.0.as_bytes());
        hmac::verify(&key, text.as_bytes(), expected.as_ref()).is_ok()
    }

    /// What a browser that showed the token keeps.
    pub(super) fn cookie(&self) -> String {
        hex::encode(hmac::sign(&self.key(), COOKIE_CONTEXT))
    }

    /// Whether `value` is such a cookie.
    pub(super) fn is_cookie(&self, value: &str) -> bool {
        hex::decode(value).is_ok_and(|tag| hmac::verify(&self.key(), COOKIE_CONTEXT, &tag).is_ok())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }

    fn random() -> Option<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(hex::encode(bytes)))
    }
}

/// Who the page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The endpoint listens on this machine only: no token is needed, and none is made.
    ThisMachine,
    /// Others reach it too.
    Network,
}

/// The token in force: the configured one, else that of the file in the data directory, which is made when others
/// reach the page. Without any, the page is for this machine only.
#[must_use]
pub fn find(
    configured: Option<&PageToken>,
    file: Option<&Path>,
    reach: Reach,
) -> Option<PageToken> {
    if let Some(token) = configured {
        return Some(token.clone());
    }
    let file = file?;
    match read_if_present(file) {
        Ok(Some(bytes)) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            let token = PageToken::try_from(text);
            if let Err(error) = &token {
                tracing::warn!(
                    "{}: {error}; nobody outside this machine sees the camera page",
                    file.display()
                );
            }
            token.ok()
        }
        Ok(None) if reach == Reach::Network => make(file.to_owned()),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!("{error}; nobody outside this machine sees the camera page");
            None
        }
    }
}

fn make(file: PathBuf) -> Option<PageToken> {
    let token = PageToken::random()?;
    match replace_file(&file, format!("{}\n", token.0).as_bytes(), PRIVATE) {
        Ok(()) => {
            tracing::info!(file = %file.display(), "made a token for the camera page");
            Some(token)
        }
        Err(error) => {
            tracing::warn!("{error}; nobody outside this machine sees the camera page");
            None
        }
    }
}

#[cfg(test)]
mod tests;
