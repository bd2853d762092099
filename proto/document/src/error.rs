//! What can be wrong with a document, and how it is said.

use std::fmt;

use serde_path_to_error::{Path, Segment};
use thiserror::Error;

use crate::hint::Hint;

/// Longest key or message taken over from the document; hostile text is cut.
pub(crate) const QUOTED_CHARS_MAX: usize = 200;

/// Why a document was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DocumentError {
    /// Longer than [`crate::DOCUMENT_BYTES_MAX`].
    #[error(
        "{origin} has {bytes} bytes; a document may have {max}: split it",
        max = crate::DOCUMENT_BYTES_MAX
    )]
    TooLarge {
        /// Where the text came from.
        origin: String,
        /// Its length.
        bytes: usize,
    },
    /// A key nobody knows at its place.
    #[error("unknown key `{key}` {place}: {hint}")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Where it stands.
        place: Box<Place>,
        /// The nearest known key, or all of them when none is near.
        hint: Hint,
    },
    /// A key that must be there is not.
    #[error("key `{key}` is missing {place}: add it")]
    MissingKey {
        /// The key that is missing.
        key: String,
        /// Where it belongs.
        place: Box<Place>,
    },
    /// A key has one of a few values, and this is none of them.
    #[error("unknown value `{value}` {place}: {hint}")]
    UnknownValue {
        /// The value as written.
        value: String,
        /// Where it stands.
        place: Box<Place>,
        /// The nearest known value, or all of them when none is near.
        hint: Hint,
    },
    /// The text is not of its format, or a value is not of its type.
    #[error("cannot read the document {place}: {message}")]
    Invalid {
        /// What the parser or the type says.
        message: String,
        /// Where.
        place: Box<Place>,
    },
}

/// Where in a document something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the text came from, for example a file name.
    pub origin: String,
    /// Line, from 1; absent when the parser knows none.
    pub line: Option<u64>,
    /// Keys from the top, joined by dots (`spec.inputs[0]`); empty at the top.
    pub path: String,
}

impl DocumentError {
    /// The key at fault with its path, for example `spec.modle`; `None` when the fault is not at a key.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } => None,
            Self::UnknownKey { key, place, .. } | Self::MissingKey { key, place } => {
                Some(place.join(key))
            }
            Self::UnknownValue { place, .. } | Self::Invalid { place, .. } => {
                (!place.path.is_empty()).then(|| place.path.clone())
            }
        }
    }

    /// The known key or value that is nearest to the unknown one.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { hint, .. } | Self::UnknownValue { hint, .. } => match hint {
                Hint::Nearest(word) => Some(word),
                Hint::Known(_) => None,
            },
            Self::TooLarge { .. } | Self::MissingKey { .. } | Self::Invalid { .. } => None,
        }
    }

    /// The line at fault, from 1.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::TooLarge { .. } => None,
            Self::UnknownKey { place, .. }
            | Self::MissingKey { place, .. }
            | Self::UnknownValue { place, .. }
            | Self::Invalid { place, .. } => place.line,
        }
    }

    pub(crate) fn from_yaml(fault: &serde_saphyr::Error, path: &Path, origin: &str) -> Self {
        let fault = fault.without_snippet();
        let line = fault
            .location()
            .map(|at| at.line())
            .filter(|line| *line > 0);
        let words = |known: &[&'static str]| known.iter().map(|word| (*word).to_owned()).collect();
        // Only the faults that deserve better words than the parser's are told apart.
        let fault = match fault {
            serde_saphyr::Error::SerdeUnknownField {
                field, expected, ..
            } => Fault::UnknownKey(field.clone(), words(expected)),
            serde_saphyr::Error::SerdeUnknownVariant {
                variant, expected, ..
            } => Fault::UnknownValue(variant.clone(), words(expected)),
            serde_saphyr::Error::SerdeMissingField { field, .. } => {
                Fault::MissingKey((*field).to_owned())
            }
            other => Fault::from_message(without_place(
                &other.render_with_formatter(&serde_saphyr::UserMessageFormatter),
            )),
        };
        fault.at(path, origin, line)
    }

    pub(crate) fn from_toml(
        fault: &::toml::de::Error,
        path: &Path,
        text: &str,
        origin: &str,
    ) -> Self {
        let line = fault
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() as u64 + 1);
        Fault::from_message(fault.message()).at(path, origin, line)
    }

    pub(crate) fn from_json(fault: &serde_json::Error, path: &Path, origin: &str) -> Self {
        let line = Some(fault.line() as u64).filter(|line| *line > 0);
        Fault::from_message(without_place(&fault.to_string())).at(path, origin, line)
    }
}

impl Place {
    fn join(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "at the top ({}", self.origin)?;
        } else {
            write!(f, "in {} ({}", self.path, self.origin)?;
        }
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        f.write_str(")")
    }
}

/// What is wrong, before it is known where.
enum Fault {
    UnknownKey(String, Vec<String>),
    UnknownValue(String, Vec<String>),
    MissingKey(String),
    Message(String),
}

impl Fault {
    /// Reads the standard wordings of `serde::de::Error`, which is all that TOML and JSON hand out.
    fn from_message(message: &str) -> Self {
        if let Some((word, rest)) = quoted_after(message, "unknown field `") {
            Self::UnknownKey(word, quoted_words(rest))
        } else if let Some((word, rest)) = quoted_after(message, "unknown variant `") {
            Self::UnknownValue(word, quoted_words(rest))
        } else if let Some((word, _)) = quoted_after(message, "missing field `") {
            Self::MissingKey(word)
        } else {
            Self::Message(message.to_owned())
        }
    }

    fn at(self, path: &Path, origin: &str, line: Option<u64>) -> DocumentError {
        let unknown_key = match &self {
            Self::UnknownKey(key, _) => Some(key.as_str()),
            Self::UnknownValue(..) | Self::MissingKey(_) | Self::Message(_) => None,
        };
        let place = Box::new(Place {
            origin: origin.to_owned(),
            line,
            path: path_text(path, unknown_key),
        });
        match self {
            Self::UnknownKey(key, known) => DocumentError::UnknownKey {
                hint: Hint::new(&key, known),
                key: cut(&key),
                place,
            },
            Self::UnknownValue(value, known) => DocumentError::UnknownValue {
                hint: Hint::new(&value, known),
                value: cut(&value),
                place,
            },
            Self::MissingKey(key) => DocumentError::MissingKey { key, place },
            Self::Message(message) => DocumentError::Invalid {
                message: cut(&message),
                place,
            },
        }
    }
}

/// The path as `spec.inputs[0]`, without `last`: the tracker has already stepped into an unknown key.
fn path_text(path: &Path, last: Option<&str>) -> String {
    let mut segments: Vec<&Segment> = path.iter().collect();
    if let (Some(Segment::Map { key }), Some(last)) = (segments.last(), last)
        && key == last
    {
        segments.pop();
    }
    let mut text = String::new();
    for segment in segments {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&cut(key));
            }
            Segment::Unknown => {}
        }
    }
    text
}

fn quoted_after<'m>(message: &'m str, start: &str) -> Option<(String, &'m str)> {
    let (word, rest) = message.strip_prefix(start)?.split_once('`')?;
    Some((word.to_owned(), rest))
}

fn quoted_words(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Drops the parser's own ` at line 4, column 2`; the [`Place`] says it.
fn without_place(message: &str) -> &str {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message)
}

fn cut(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .take(QUOTED_CHARS_MAX)
        .collect()
}
