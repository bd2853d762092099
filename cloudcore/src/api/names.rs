//! What names, labels and annotations may look like.

use fleet_api::Metadata;

use super::failure::Failure;

/// Labels of one object: for selection, not for data.
const LABELS_MAX: usize = 64;

/// All annotations of one object together, keys included.
const ANNOTATIONS_BYTES_MAX: usize = 64 * 1024;

/// Longest part of a label key after its prefix, and longest label value.
const LABEL_LENGTH_MAX: usize = 63;

/// Longest prefix of a label key (a DNS name).
const PREFIX_LENGTH_MAX: usize = 253;

/// Checks labels and annotations.
pub(crate) fn check_metadata(metadata: &Metadata) -> Result<(), Failure> {
    if metadata.labels.len() > LABELS_MAX {
        let detail = format!("an object may have {LABELS_MAX} labels");
        return Err(Failure::invalid("metadata.labels", detail));
    }
    for (key, value) in &metadata.labels {
        check_label_key(key)
            .and_then(|()| check_label_value(value))
            .map_err(|fault| Failure::invalid(format!("metadata.labels.{key}"), fault))?;
    }
    let bytes: usize = metadata
        .annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        let detail = format!("annotations may have {ANNOTATIONS_BYTES_MAX} bytes together");
        return Err(Failure::invalid("metadata.annotations", detail));
    }
    for key in metadata.annotations.keys() {
        check_label_key(key)
            .map_err(|fault| Failure::invalid(format!("metadata.annotations.{key}"), fault))?;
    }
    Ok(())
}

/// `[prefix/]name`, as in Kubernetes.
pub(crate) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_fits = prefix.is_none_or(|prefix| {
        !prefix.is_empty() && prefix.len() <= PREFIX_LENGTH_MAX && is_token(prefix)
    });
    if prefix_fits && !name.is_empty() && name.len() <= LABEL_LENGTH_MAX && is_token(name) {
        Ok(())
    } else {
        Err(format!(
            "label key `{}` must be letters, digits, `.`, `-` and `_`, beginning and ending with a \
             letter or digit, at most {LABEL_LENGTH_MAX} characters, with an optional `prefix/` before it",
            shortened(key)
        ))
    }
}

/// Empty, or as the name part of a key.
pub(crate) fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || (value.len() <= LABEL_LENGTH_MAX && is_token(value)) {
        Ok(())
    } else {
        Err(format!(
            "label value `{}` must be letters, digits, `.`, `-` and `_`, beginning and ending with a \
             letter or digit, at most {LABEL_LENGTH_MAX} characters",
            shortened(value)
        ))
    }
}

fn is_token(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Cuts hostile text short before it goes into a message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(LABEL_LENGTH_MAX + 1)
        .collect()
}
