//! Text that must not be printed.

use std::fmt;

use millwright_proto::Digest;

/// A secret text: no `Display`, and `Debug` prints `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends or writes it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its SHA-256, which is what a server stores. Enough for secrets of 128 random bits and more;
    /// a password of a person would need a slow hash.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Whether `digest` is the one of this secret. Comparing digests leaks nothing usable through
    /// time: who guesses cannot choose the digest's bytes.
    #[must_use]
    pub fn matches(&self, digest: &Digest) -> bool {
        self.digest() == *digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_and_matches_its_digest() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert!(secret.matches(&Digest::of(b"hunter2")));
        assert!(!secret.matches(&Digest::of(b"hunter3")));
    }
}
