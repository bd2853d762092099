//! Strict YAML, TOML and JSON documents: what a person writes is taken as written or refused with
//! the place, the reason and the nearest known key.
//!
//! Owns the way from text to a typed value and the wording of everything that can be wrong with
//! it. It deliberately knows no file (the caller reads the text and says where it came from) and no
//! particular document: types come from the caller and refuse unknown keys by
//! `#[serde(deny_unknown_fields)]`.
//!
//! Text in, value or [`DocumentError`] out. Invariant: hostile text never panics, never takes more
//! memory than a small multiple of [`DOCUMENT_BYTES_MAX`], and every refusal names the origin;
//! asserted in `tests.rs`.

mod error;
mod hint;

use serde::de::DeserializeOwned;

pub use error::{DocumentError, Place};
pub use hint::Hint;

/// Largest document in bytes. The largest ones people write are lists of deployments, about 500
/// bytes each; 1 MiB holds 2,000 of them. YAML aliases are bounded apart by the parser's budget.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Reads one YAML document.
///
/// `origin` is where the text came from, for example a file name; errors quote it. Only `true` and
/// `false` are booleans, so that a country code `no` stays a text, and a key may stand once.
///
/// # Errors
/// When the text is too large, is not YAML, or is not a `T`.
pub fn yaml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, DocumentError> {
    bounded(text, origin)?;
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
    };
    let mut track = serde_path_to_error::Track::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        T::deserialize(serde_path_to_error::Deserializer::new(
            deserializer,
            &mut track,
        ))
    })
    .map_err(|fault| DocumentError::from_yaml(&fault, &track.path(), origin))
}

/// Splits a stream of YAML documents at its `---` lines, leaving out empty ones.
///
/// Each part is preceded by as many empty lines as stood before it, so that the line numbers in
/// errors are those of the whole text.
#[must_use]
pub fn split_yaml(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for (line, content) in text.lines().enumerate() {
        if content.trim_end() == "---" {
            parts.push(std::mem::replace(&mut part, "\n".repeat(line + 1)));
        } else {
            part.push_str(content);
            part.push('\n');
        }
    }
    parts.push(part);
    parts.retain(|part| {
        part.lines()
            .map(str::trim)
            .any(|line| !line.is_empty() && !line.starts_with('#'))
    });
    parts
}

/// Reads one TOML document; `origin` as for [`yaml`].
///
/// # Errors
/// When the text is too large, is not TOML, or is not a `T`.
pub fn toml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, DocumentError> {
    bounded(text, origin)?;
    let mut track = serde_path_to_error::Track::new();
    ::toml::Deserializer::parse(text)
        .and_then(|deserializer| {
            T::deserialize(serde_path_to_error::Deserializer::new(
                deserializer,
                &mut track,
            ))
        })
        .map_err(|fault| DocumentError::from_toml(&fault, &track.path(), text, origin))
}

/// Reads one JSON document; `origin` as for [`yaml`].
///
/// # Errors
/// When the text is too large, is not JSON, or is not a `T`.
pub fn json<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, DocumentError> {
    bounded(text, origin)?;
    let mut track = serde_path_to_error::Track::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    T::deserialize(serde_path_to_error::Deserializer::new(
        &mut deserializer,
        &mut track,
    ))
    .and_then(|value| deserializer.end().map(|()| value))
    .map_err(|fault| DocumentError::from_json(&fault, &track.path(), origin))
}

fn bounded(text: &str, origin: &str) -> Result<(), DocumentError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge {
            origin: origin.to_owned(),
            bytes: text.len(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
