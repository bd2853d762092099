//! Stores that were set aside for a person to look at: `<store>.damaged-<n>` beside the store.
//!
//! Until the fresh store has declared the loss, durably, the name ends in `.undeclared`. A kill or a failing disk in
//! between can thus not turn a quarantine into an empty store that knows of nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::file_error;
use crate::store::StoreError;

/// Directories set aside that are kept; older ones go, for the disk's sake.
const ASIDE_MAX: usize = 2;

const UNDECLARED: &str = ".undeclared";

/// A free name beside `directory`; makes room for it by removing the oldest ones.
pub(super) fn name(directory: &Path) -> Result<PathBuf, StoreError> {
    let parent = parent(directory);
    let prefix = prefix(directory);
    let mut taken: Vec<u64> = names(directory)?
        .iter()
        .filter_map(|name| name.strip_prefix(&prefix)?.parse().ok())
        .collect();
    taken.sort_unstable();
    let undeclared = undeclared(directory)?.and_then(|path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(&prefix)?.parse().ok()
    });
    let last = taken.last().copied().max(undeclared);
    let spare = (taken.len() + 1).saturating_sub(ASIDE_MAX);
    for number in taken.into_iter().take(spare) {
        let old = parent.join(format!("{prefix}{number}"));
        fs::remove_dir_all(&old).map_err(file_error("remove", &old))?;
    }
    let next = last.map_or(1, |last| last + 1);
    Ok(parent.join(format!("{prefix}{next}")))
}

/// Takes `directory` away: to `kept`, unless a copy of its rows lies there already. Returns where the loss that is still to be
/// declared lies.
pub(super) fn quarantine(
    directory: &Path,
    kept: PathBuf,
    copied: bool,
) -> Result<PathBuf, StoreError> {
    if let Some(earlier) = undeclared(directory)? {
        // What took its place failed before it had anything of its own.
        fs::remove_dir_all(directory).map_err(file_error("remove", directory))?;
        return Ok(earlier);
    }
    let from = if copied { &kept } else { directory };
    fs::rename(from, waiting(&kept)).map_err(file_error("move aside", directory))?;
    if copied {
        // The copy shows the rows as they were before the repair was tried, so that one is kept. Without its
        // rows nobody can read the rest.
        fs::remove_dir_all(directory).map_err(file_error("remove", directory))?;
    }
    Ok(kept)
}

/// The quarantined store whose loss nobody has declared yet, by the name that it will have.
pub(super) fn undeclared(directory: &Path) -> Result<Option<PathBuf>, StoreError> {
    let prefix = prefix(directory);
    let names = names(directory)?;
    let waiting = names
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .find_map(|name| name.strip_suffix(UNDECLARED));
    Ok(waiting.map(|name| parent(directory).join(name)))
}

/// Notes that the loss of the store in `kept` is declared. If it fails, it is declared once more at the next start.
pub(in crate::store) fn declared(kept: &Path) {
    if let Err(error) = fs::rename(waiting(kept), kept) {
        tracing::warn!(path = %kept.display(), %error, "cannot rename a store that was set aside");
    }
}

fn waiting(kept: &Path) -> PathBuf {
    let mut name = kept.as_os_str().to_owned();
    name.push(UNDECLARED);
    PathBuf::from(name)
}

fn prefix(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.damaged-")
}

fn parent(directory: &Path) -> &Path {
    directory.parent().unwrap_or(Path::new("."))
}

/// What lies beside `directory`.
fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let parent = parent(directory);
    let entries = fs::read_dir(parent).map_err(file_error("list", parent))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect())
}
