//! The token that lets a device in.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use millwright_proto::ids::NAME_LENGTH_MAX;
use thiserror::Error;

use crate::pin::RootPin;
use crate::secret::Secret;

/// First part of every token; a later form gets another number.
const PREFIX: &str = "mwj1";

/// Random bytes in a secret.
pub(crate) const SECRET_BYTES: usize = 32;

/// Characters of a secret: base64url without padding.
const SECRET_CHARS: usize = 43;

/// What a person carries from cloudcore to a device: which token, its secret, and the pin of the
/// root that tells the real cloudcore from another. Text form:
/// `mwj1.<id>.<secret>.<64 hex digits of the root pin>`.
///
/// It has no `Display`, because it contains a secret; [`JoinToken::to_text`] is for the one answer
/// that hands it out.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Names the token; public. A DNS label.
    pub id: String,
    /// Proves that the device was given the token.
    pub secret: Secret,
    /// The root of the cloudcore that made the token.
    pub root_pin: RootPin,
}

/// Why text is not a join token. No variant repeats any of the text.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JoinTokenError {
    /// Another first part.
    #[error(
        "a join token starts with `mwj1.`; this text of {length} characters does not: copy it again from `fleetctl token create`"
    )]
    Prefix {
        /// Length of the text.
        length: usize,
    },
    /// Not four parts.
    #[error(
        "a join token has 4 parts divided by dots, this one has {found}: it was probably cut when it was copied"
    )]
    Parts {
        /// How many there are.
        found: usize,
    },
    /// The id is no DNS label.
    #[error("the id in the join token (second part) is not a name of a-z, 0-9 and -")]
    Id,
    /// The secret has another length or other characters.
    #[error(
        "the secret in the join token (third part) has {length} characters or some that do not belong; expected 43 of A-Z, a-z, 0-9, - and _"
    )]
    Secret {
        /// Its length.
        length: usize,
    },
    /// The pin is no pin.
    #[error(
        "the root pin in the join token (last part) has {length} characters or some that do not belong; expected 64 hex digits"
    )]
    Pin {
        /// Its length.
        length: usize,
    },
}

impl JoinToken {
    /// A token for `id` with a secret of bytes the caller drew at random.
    ///
    /// # Errors
    /// [`JoinTokenError::Id`] when `id` is not a DNS label.
    pub fn new(
        id: &str,
        secret: [u8; SECRET_BYTES],
        root_pin: RootPin,
    ) -> Result<Self, JoinTokenError> {
        if !is_label(id) {
            return Err(JoinTokenError::Id);
        }
        Ok(Self {
            id: id.to_owned(),
            secret: Secret::new(BASE64_URL_SAFE_NO_PAD.encode(secret)),
            root_pin,
        })
    }

    /// The whole token with its secret, to be handed out once.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::new(format!(
            "{PREFIX}.{}.{}.{}",
            self.id,
            self.secret.expose(),
            self.root_pin.to_hex()
        ))
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    /// Spaces and line ends around the token are dropped: they come with copying.
    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let text = text.trim();
        let mut parts = text.split('.');
        if parts.next() != Some(PREFIX) {
            return Err(JoinTokenError::Prefix {
                length: text.chars().count(),
            });
        }
        let (Some(id), Some(secret), Some(pin), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JoinTokenError::Parts {
                found: text.split('.').count(),
            });
        };
        if !is_label(id) {
            return Err(JoinTokenError::Id);
        }
        let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if secret.len() != SECRET_CHARS || !secret.bytes().all(in_alphabet) {
            return Err(JoinTokenError::Secret {
                length: secret.chars().count(),
            });
        }
        let root_pin = RootPin::from_hex(pin).map_err(|_| JoinTokenError::Pin {
            length: pin.chars().count(),
        })?;
        Ok(Self {
            id: id.to_owned(),
            secret: Secret::new(secret),
            root_pin,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}.{}.[secret].{}",
            self.id,
            self.root_pin.to_hex()
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        let pin = RootPin::from_hex(&"ab".repeat(32)).unwrap();
        JoinToken::new("t-1", [0xfb; SECRET_BYTES], pin).unwrap()
    }

    #[test]
    fn text_form_round_trips_even_with_spaces_around_it() {
        let text = token().to_text();
        assert!(
            text.expose().starts_with("mwj1.t-1.-_"),
            "{}",
            text.expose()
        );
        assert_eq!(format!(" {}\n", text.expose()).parse(), Ok(token()));
    }

    #[test]
    fn debug_shows_the_id_and_not_the_secret() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("t-1.[secret]."), "{shown}");
        assert!(!shown.contains(token().secret.expose()), "{shown}");
    }

    #[test]
    fn each_wrong_part_is_named() {
        let text = token().to_text().expose().to_owned();
        let wrong = [
            ("hello".to_owned(), JoinTokenError::Prefix { length: 5 }),
            (
                text.replace("mwj1", "mwj2"),
                JoinTokenError::Prefix { length: text.len() },
            ),
            (text[..20].to_owned(), JoinTokenError::Parts { found: 3 }),
            (format!("{text}.x"), JoinTokenError::Parts { found: 5 }),
            (text.replace("t-1", "T_1"), JoinTokenError::Id),
            (
                text.replace("-_", "-"),
                JoinTokenError::Secret { length: 32 },
            ),
            (
                text[..text.len() - 1].to_owned(),
                JoinTokenError::Pin { length: 63 },
            ),
        ];
        for (text, error) in wrong {
            assert_eq!(text.parse::<JoinToken>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_error_repeats_what_was_given(text in "(mwj1\\.)?[a-zA-Z0-9_.-]{8,120}") {
            if let Err(error) = text.parse::<JoinToken>() {
                let shown = format!("{error} {error:?}");
                for part in text.split('.').filter(|part| part.len() > 8) {
                    prop_assert!(!shown.contains(part), "{shown}");
                }
            }
        }
    }
}
