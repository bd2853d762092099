//! Content addresses: a digest that carries its algorithm.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::link;

/// A SHA-256 digest. Text form: `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a digest could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DigestError {
    /// The text does not start with a known algorithm.
    #[error("digest `{0}` names no known algorithm: write sha256:<64 hex digits>")]
    Algorithm(String),
    /// The value has the wrong length or other characters than hex digits.
    #[error("digest `{0}` is not 64 hex digits after `sha256:`")]
    Value(String),
    /// A wire digest has another algorithm or length than SHA-256.
    #[error(
        "digest on the wire has algorithm {algorithm} and {length} bytes; expected 1 (SHA-256) and 32"
    )]
    Wire {
        /// Algorithm number as received.
        algorithm: i32,
        /// Value length in bytes as received.
        length: usize,
    },
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// A digest from its 32 bytes.
    #[must_use]
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the SHA-256 value.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits without the algorithm, as used for file names.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
pub struct Hasher(ring::digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut value = [0; 32];
        value.copy_from_slice(self.0.finish().as_ref());
        Digest(value)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let value = text
            .strip_prefix("sha256:")
            .ok_or_else(|| DigestError::Algorithm(text.to_owned()))?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(value, &mut bytes).map_err(|_| DigestError::Value(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl From<Digest> for link::Digest {
    fn from(digest: Digest) -> Self {
        Self {
            algorithm: link::DigestAlgorithm::Sha256.into(),
            value: bytes::Bytes::copy_from_slice(&digest.0),
        }
    }
}

impl TryFrom<&link::Digest> for Digest {
    type Error = DigestError;

    fn try_from(wire: &link::Digest) -> Result<Self, DigestError> {
        let value: Option<[u8; 32]> = wire.value.as_ref().try_into().ok();
        match (wire.algorithm(), value) {
            (link::DigestAlgorithm::Sha256, Some(value)) => Ok(Self(value)),
            (link::DigestAlgorithm::Sha256 | link::DigestAlgorithm::Unspecified, _) => {
                Err(DigestError::Wire {
                    algorithm: wire.algorithm,
                    length: wire.value.len(),
                })
            }
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_is_the_known_sha256() {
        let digest = Digest::of(b"abc");
        let text = digest.to_string();
        assert_eq!(
            text,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(text.parse(), Ok(digest));
    }

    #[test]
    fn other_algorithms_and_lengths_are_refused() {
        assert!(matches!(
            "md5:00".parse::<Digest>(),
            Err(DigestError::Algorithm(_))
        ));
        assert!(matches!(
            "sha256:00".parse::<Digest>(),
            Err(DigestError::Value(_))
        ));
        let wire = link::Digest {
            algorithm: 7,
            value: vec![0; 32].into(),
        };
        assert_eq!(
            Digest::try_from(&wire),
            Err(DigestError::Wire {
                algorithm: 7,
                length: 32
            })
        );
    }
}
