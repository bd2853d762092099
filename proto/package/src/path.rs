//! Paths inside a package: relative, with `/`, and never out of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest path, in bytes: what one directory entry may be on the file systems of edge devices, so
/// that any part of it fits.
pub const PATH_BYTES_MAX: usize = 255;

/// Why a path was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PackagePathError {
    /// Empty, or over [`PATH_BYTES_MAX`].
    #[error("package path of {0} bytes must have 1 to {PATH_BYTES_MAX}")]
    Length(usize),
    /// Could leave the package, or means something else on another system.
    #[error(
        "package path `{0}` must be relative, with / between parts, without . or .. parts, backslashes or control characters"
    )]
    Form(String),
}

/// Where a file is in a package, for example `golden/face.safetensors`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackagePath(String);

impl PackagePath {
    /// The path as text; always relative, so joining it to a directory stays in the directory.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".."
}

impl FromStr for PackagePath {
    type Err = PackagePathError;

    fn from_str(text: &str) -> Result<Self, PackagePathError> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return Err(PackagePathError::Length(text.len()));
        }
        let forbidden = |c: char| c == '\\' || c.is_control();
        if text.contains(forbidden) || !text.split('/').all(is_part) {
            let printable = text.chars().filter(|c| !c.is_control()).collect();
            return Err(PackagePathError::Form(printable));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PackagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PackagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PackagePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_could_leave_the_package_are_refused() {
        for bad in [
            "/etc/passwd",
            "..",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "a\nb",
            "a\0b",
        ] {
            assert!(
                matches!(bad.parse::<PackagePath>(), Err(PackagePathError::Form(_))),
                "{bad:?}"
            );
        }
        assert_eq!("".parse::<PackagePath>(), Err(PackagePathError::Length(0)));
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        assert_eq!(
            long.parse::<PackagePath>(),
            Err(PackagePathError::Length(256))
        );
    }

    proptest! {
        #[test]
        fn an_accepted_path_has_only_normal_components(text in "[a./\\\\\n-]{0,12}|\\PC{0,20}") {
            if let Ok(path) = text.parse::<PackagePath>() {
                let normal = |c: Component<'_>| matches!(c, Component::Normal(_));
                prop_assert!(Path::new(path.as_str()).components().all(normal));
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
