//! The names of things, parsed once: node and site names, model versions, generations, random identities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest name of a tenant, site, node, model or deployment: a DNS label, so that a name fits
/// everywhere Kubernetes would take it.
pub const NAME_LENGTH_MAX: usize = 63;

/// Longest model version, in characters.
pub const VERSION_LENGTH_MAX: usize = 64;

/// Why a name was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// Not a DNS label.
    #[error(
        "{what} `{text}` must be 1 to 63 characters of a-z, 0-9 and -, starting and ending with a letter or digit"
    )]
    Name {
        /// What was being named.
        what: &'static str,
        /// The text as given, shortened.
        text: String,
    },
    /// Not a version.
    #[error(
        "version `{0}` must be 1 to 64 characters of A-Z, a-z, 0-9, . + - and _, starting with a letter or digit"
    )]
    Version(String),
    /// Not `model@version`.
    #[error("`{0}` is not of the form <model>@<version>, for example defect-detection@3.1.0")]
    ModelVersion(String),
    /// Not 16 bytes.
    #[error("{what} must be 16 bytes (32 hex digits), got {length}")]
    Random {
        /// What was being read.
        what: &'static str,
        /// Length in bytes or characters as received.
        length: usize,
    },
}

/// Cuts hostile text short before it goes into a message.
fn shortened(text: &str) -> String {
    text.chars()
        .take(NAME_LENGTH_MAX + 1)
        .filter(|c| !c.is_control())
        .collect()
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_version(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_');
    !text.is_empty()
        && text.len() <= VERSION_LENGTH_MAX
        && text.bytes().all(inner)
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if $valid(text) { Ok(Self(text.to_owned())) } else { Err($error(shortened(text))) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(/// Who owns a part of the fleet.
    TenantName, is_dns_label, |text| IdError::Name { what: "tenant", text });
text_id!(/// A factory.
    SiteName, is_dns_label, |text| IdError::Name { what: "site", text });
text_id!(/// One edge device with one agent, unique within its tenant.
    NodeName, is_dns_label, |text| IdError::Name { what: "node", text });
text_id!(/// A model, whatever its version.
    ModelName, is_dns_label, |text| IdError::Name { what: "model", text });
text_id!(/// The intent that a model runs somewhere.
    DeploymentName, is_dns_label, |text| IdError::Name { what: "model deployment", text });
text_id!(/// A way from a source through a model to sinks, unique on its node.
    PipelineName, is_dns_label, |text| IdError::Name { what: "pipeline", text });
text_id!(/// One immutable version of a model, for example `3.1.0`.
    Version, is_version, IdError::Version);

/// `model@version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelVersion {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
}

impl FromStr for ModelVersion {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (model, version) = text
            .split_once('@')
            .ok_or_else(|| IdError::ModelVersion(shortened(text)))?;
        Ok(Self {
            model: model.parse()?,
            version: version.parse()?,
        })
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model, self.version)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From bytes the caller drew at random (or read from the device).
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_| IdError::Random { what: $what, length: bytes.len() })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| IdError::Random { what: $what, length: text.len() / 2 })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id!(/// Immutable identity of a node, made on the device at enrollment.
    NodeUid, "node uid");
random_id!(/// One process of an agent.
    InstanceId, "instance");
random_id!(/// One boot of a device.
    BootId, "boot id");
random_id!(/// One fresh outbox store; sequence numbers start again with it.
    Lineage, "lineage");
random_id!(/// One life of the cloud's store; changes with a restore.
    Incarnation, "incarnation");

/// Number of one complete desired state of one node. 0 means none yet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// No desired state yet.
    pub const NONE: Self = Self(0);

    /// A generation as received or stored.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "line-1", "0", &"x".repeat(63)] {
            assert_eq!(
                good.parse::<NodeName>().map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "../etc",
            "a/b",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(
                matches!(
                    bad.parse::<NodeName>(),
                    Err(IdError::Name { what: "node", .. })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn model_versions_read_as_model_at_version() {
        let id: ModelVersion = "defect-detection@3.1.0".parse().unwrap();
        assert_eq!(
            (id.model.as_str(), id.version.as_str()),
            ("defect-detection", "3.1.0")
        );
        assert_eq!(id.to_string(), "defect-detection@3.1.0");
        assert!(matches!(
            "defect".parse::<ModelVersion>(),
            Err(IdError::ModelVersion(_))
        ));
        assert!(matches!(
            "m@../x".parse::<ModelVersion>(),
            Err(IdError::Version(_))
        ));
    }

    #[test]
    fn random_identities_are_exactly_sixteen_bytes() {
        let uid = NodeUid::from_bytes([7; 16]);
        assert_eq!(uid.to_string().parse(), Ok(uid));
        assert_eq!(
            NodeUid::try_from(&[1_u8, 2][..]),
            Err(IdError::Random {
                what: "node uid",
                length: 2
            })
        );
    }
}
