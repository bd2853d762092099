//! The files of a directory at one moment, and what a power cut makes of two such moments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A disk writes this much at once.
const SECTOR_BYTES: usize = 512;

/// File contents by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// What a sector holds that was being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sectors {
    /// The old bytes or the new ones, as good disks promise.
    Whole,
    /// Anything, as cheap flash does.
    Garbled,
}

/// Which of the sectors under way reached the disk.
#[derive(Clone, Copy, Debug)]
enum Reached {
    /// Each by chance.
    Some(f64),
    /// The first so many parts of all.
    First(f64),
    /// All but the first so many parts.
    Last(f64),
}

impl Image {
    /// Reads what lies in `directory`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let mut image = Self::default();
        image.add(directory, Path::new(""))?;
        Ok(image)
    }

    fn add(&mut self, top: &Path, below: &Path) -> Result<()> {
        for entry in fs::read_dir(top.join(below)).context("listing a store")? {
            let entry = entry.context("listing a store")?;
            let name = below.join(entry.file_name());
            if entry.path().is_dir() {
                self.add(top, &name)?;
            } else {
                let bytes = fs::read(entry.path()).context("reading a store's file")?;
                self.files.insert(name, bytes);
            }
        }
        Ok(())
    }

    /// Writes it to `directory`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        for (name, bytes) in &self.files {
            let path = directory.join(name);
            let parent = path.parent().context("a file lies in a directory")?;
            fs::create_dir_all(parent).context("making a store's directory")?;
            fs::write(&path, bytes).context("writing a store's file")?;
        }
        Ok(())
    }

    /// This image with a random part of the way to `written`. With [`Sectors::Garbled`] sectors that
    /// were being written may hold anything, beside what lay in them before.
    pub(crate) fn torn(&self, written: &Self, sectors: Sectors, dice: &mut fastrand::Rng) -> Self {
        let names: BTreeSet<&PathBuf> = self.files.keys().chain(written.files.keys()).collect();
        let mut torn = Self::default();
        for name in names {
            let content = match (self.files.get(name), written.files.get(name)) {
                (Some(old), Some(new)) if old == new => Some(old.clone()),
                (Some(old), Some(new)) => Some(mix(old, new, sectors, dice)),
                // A name that came or went: its directory entry may be the old one or the new one.
                (Some(old), None) => dice.bool().then(|| old.clone()),
                (None, Some(new)) => dice.bool().then(|| mix(&[], new, sectors, dice)),
                (None, None) => None,
            };
            if let Some(content) = content {
                torn.files.insert(name.clone(), content);
            }
        }
        torn
    }
}

fn mix(old: &[u8], new: &[u8], sectors: Sectors, dice: &mut fastrand::Rng) -> Vec<u8> {
    let reached = match dice.u8(0..3) {
        0 => Reached::Some(dice.f64()),
        1 => Reached::First(dice.f64()),
        _ => Reached::Last(dice.f64()),
    };
    let length = if dice.bool() { new.len() } else { old.len() };
    // What was reserved and never written reads as zeros.
    let mut mixed = old.to_vec();
    mixed.resize(length, 0);
    let changed: Vec<usize> = (0..new.len().min(length))
        .step_by(SECTOR_BYTES)
        .filter(|&at| sector(old, at) != sector(new, at))
        .collect();
    for (place, &at) in changed.iter().enumerate() {
        let part = place as f64 / changed.len() as f64;
        let arrived = match reached {
            Reached::Some(chance) => dice.f64() < chance,
            Reached::First(end) => part < end,
            Reached::Last(start) => part >= start,
        };
        let end = (at + SECTOR_BYTES).min(length).min(new.len());
        if arrived {
            mixed[at..end].copy_from_slice(&new[at..end]);
        } else if sectors == Sectors::Garbled && dice.bool() {
            dice.fill(&mut mixed[at..end]);
        }
    }
    mixed
}

fn sector(bytes: &[u8], at: usize) -> Option<&[u8]> {
    bytes.get(at..(at + SECTOR_BYTES).min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: Vec<u8>) -> Image {
        Image {
            files: BTreeMap::from([(PathBuf::from("db"), bytes)]),
        }
    }

    #[test]
    fn only_what_was_under_way_is_ever_torn() {
        let old = image(vec![1; 4 * SECTOR_BYTES]);
        let mut bytes = vec![1; 6 * SECTOR_BYTES];
        bytes[2 * SECTOR_BYTES..].fill(2);
        let new = image(bytes);
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let torn = old.torn(&new, Sectors::Garbled, &mut fastrand::Rng::with_seed(seed));
            let bytes = &torn.files[Path::new("db")];
            assert_eq!(bytes[..2 * SECTOR_BYTES], [1; 2 * SECTOR_BYTES]);
            seen.insert(bytes.clone());
        }
        assert!(seen.len() > 10, "the cuts are all alike");
    }
}
