//! One random damage to one random file.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What a disk loses at once.
const SECTOR_BYTES: usize = 512;

/// In percent: damages that hit the largest file, which holds almost everything.
const LARGEST_PERCENT: u8 = 60;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// One bit is another.
    Flip {
        /// The byte.
        at: usize,
        /// The bit.
        bit: u8,
    },
    /// A sector reads as zeros.
    Zero {
        /// Its first byte.
        at: usize,
    },
    /// The file ends early.
    Truncate {
        /// Its new length.
        length: usize,
    },
    /// A sector holds what belongs to another.
    Duplicate {
        /// Read from here.
        from: usize,
        /// Written here.
        at: usize,
    },
}

impl Damage {
    /// Draws one for a file whose content ends at `used`.
    pub(crate) fn draw(used: usize, dice: &mut fastrand::Rng) -> Self {
        let at = dice.usize(0..used);
        let sector = |at: usize| at / SECTOR_BYTES * SECTOR_BYTES;
        match dice.u8(0..4) {
            0 => Self::Flip {
                at,
                bit: dice.u8(0..8),
            },
            1 => Self::Zero { at: sector(at) },
            2 => Self::Truncate { length: at },
            _ => Self::Duplicate {
                from: sector(dice.usize(0..used)),
                at: sector(at),
            },
        }
    }

    /// Does it.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        match *self {
            Self::Flip { at, bit } => bytes[at] ^= 1 << bit,
            Self::Zero { at } => {
                let end = bytes.len().min(at + SECTOR_BYTES);
                bytes[at..end].fill(0);
            }
            Self::Truncate { length } => bytes.truncate(length),
            Self::Duplicate { from, at } => {
                let length = SECTOR_BYTES.min(bytes.len() - from).min(bytes.len() - at);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
}

/// A damage and where it was done, for people.
pub(crate) struct Done {
    file: PathBuf,
    damage: Damage,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.damage, self.file.display())
    }
}

/// Damages a random file of `files`, which are relative to `directory`.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn damage(
    directory: &Path,
    files: &[PathBuf],
    dice: &mut fastrand::Rng,
) -> Result<Done> {
    let length = |file: &&PathBuf| fs::metadata(directory.join(file)).map_or(0, |data| data.len());
    let largest = files
        .iter()
        .max_by_key(length)
        .context("there are no files")?;
    let file = if dice.u8(0..100) < LARGEST_PERCENT {
        largest
    } else {
        &files[dice.usize(0..files.len())]
    };
    let path = directory.join(file);
    let mut bytes = fs::read(&path).context("reading a file to damage")?;
    // Stores reserve space ahead; damage there hits nothing.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |last| last + 1);
    let damage = Damage::draw(used.min(bytes.len().max(1)), dice);
    if !bytes.is_empty() {
        damage.apply(&mut bytes);
    }
    fs::write(&path, bytes).context("damaging a file")?;
    let file = file.clone();
    Ok(Done { file, damage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_stays_inside_the_file_and_is_drawn_again_from_its_seed() {
        for seed in 0..2_000 {
            let used = fastrand::Rng::with_seed(seed).usize(1..2_000);
            let draw = || Damage::draw(used, &mut fastrand::Rng::with_seed(seed));
            assert_eq!(draw(), draw());
            let mut bytes = vec![1; used];
            draw().apply(&mut bytes);
            assert!(bytes.len() <= used);
        }
    }
}
