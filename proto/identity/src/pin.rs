//! The hash by which a root is known before its certificate is.

use std::fmt;
use std::str::FromStr;

use millwright_proto::Digest;
use thiserror::Error;

use crate::certificate::{self, CertificateError};

/// SHA-256 of the root's `SubjectPublicKeyInfo` (DER), as in RFC 7469 but written `sha256:<hex>`.
/// It pins the key, so the root certificate may be renewed under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootPin(Digest);

/// Why text is not a pin.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a root pin is sha256: and 64 hex digits; got {length} characters of another form")]
pub struct PinError {
    /// Length of the text.
    pub length: usize,
}

impl RootPin {
    /// The pin of a certificate.
    ///
    /// # Errors
    /// When `der` is not a certificate.
    pub fn of_certificate(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = certificate::parse(der)?;
        Ok(Self(Digest::of(certificate.public_key().raw)))
    }

    /// The 64 hex digits alone, as they stand in a join token.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.to_hex()
    }

    pub(crate) fn from_hex(text: &str) -> Result<Self, PinError> {
        format!("sha256:{text}")
            .parse()
            .map_err(|_| PinError { length: text.len() })
    }
}

impl fmt::Display for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RootPin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        text.parse()
            .map(Self)
            .map_err(|_| PinError { length: text.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_other_text_is_refused() {
        let text = format!("sha256:{}", "0f".repeat(32));
        let pin: RootPin = text.parse().unwrap();
        assert_eq!(pin.to_string(), text);
        assert_eq!(RootPin::from_hex(&pin.to_hex()), Ok(pin));
        for wrong in ["", "sha256:", "sha1:00", &text[..70], "sha256:zz"] {
            assert_eq!(
                wrong.parse::<RootPin>(),
                Err(PinError {
                    length: wrong.len()
                })
            );
        }
    }
}
