//! What somebody may have meant by a word nobody knows.

use std::fmt;

use crate::error::QUOTED_CHARS_MAX;

/// Most known keys listed when none is near the unknown one; more than that reads worse than the
/// reference manual.
const KNOWN_LISTED_MAX: usize = 16;

/// What somebody may have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// One known word is near.
    Nearest(String),
    /// None is near; these are known.
    Known(Vec<String>),
}

impl Hint {
    pub(crate) fn new(word: &str, known: Vec<String>) -> Self {
        // An edit or two of every three letters is still a slip of the fingers; beyond that a
        // suggestion would mislead. Case and word separators do not count as edits, because
        // `memory_mib` for `memoryMib` is the most common mistake of all.
        let near = plain(word);
        let allowed = (near.chars().count() / 3).max(2);
        known
            .iter()
            .map(|other| (strsim::damerau_levenshtein(&near, &plain(other)), other))
            .min()
            .filter(|(edits, _)| *edits <= allowed)
            .map(|(_, other)| other.clone())
            .map_or(Self::Known(known), Self::Nearest)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(word) => write!(f, "did you mean `{word}`?"),
            Self::Known(known) if known.is_empty() => f.write_str("nothing may stand here"),
            Self::Known(known) => {
                f.write_str("known are ")?;
                for (index, word) in known.iter().take(KNOWN_LISTED_MAX).enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}`{word}`")?;
                }
                if known.len() > KNOWN_LISTED_MAX {
                    f.write_str(", ...")?;
                }
                Ok(())
            }
        }
    }
}

fn plain(word: &str) -> String {
    word.chars()
        .take(QUOTED_CHARS_MAX)
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}
