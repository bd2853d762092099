//! A directory in which files appear: each is an input, and is moved or deleted once it was answered.
//!
//! A file is read once its size and time have not changed for a while, so that one that is still being written is not.
//! Names that begin with a dot are left alone: copying programs write under such a name first. The directory is looked
//! at every so often rather than watched, which also works where it is mounted from another machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use millwright_pipeline::{Directory, Done};
use tokio::time::Instant;

use super::gauge::{Gauge, Part};
use super::intake::{Intake, Reader};
use super::item::{Fate, Receipt};
use super::message::Echo;

/// Time between two looks at the longest; half the settling time where that is shorter.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);

/// Largest file, as for any other input.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most files looked at in one go, the oldest names first; the rest come with the next look.
const FILES_MAX: usize = 1024;

/// Where files go that were not answered.
const FAILED: &str = "failed";

/// A file under way through the pipeline.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    done: Done,
    watched: PathBuf,
    under_way: UnderWay,
}

/// Files that are under way, so that a look does not find them again. Owned by the source; held for one change.
#[derive(Clone, Debug, Default)]
struct UnderWay(Arc<Mutex<BTreeSet<PathBuf>>>);

/// What a look saw of a file, and when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    length: u64,
    modified: Option<SystemTime>,
    since: Instant,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Moves or deletes the file.
    pub(super) async fn settle(self, fate: Fate) {
        let (path, watched) = (self.path.clone(), self.watched.clone());
        let target = match (fate, &self.done) {
            (Fate::Answered, Done::Delete) => None,
            (Fate::Answered, Done::Move(target)) => Some(self.watched.join(target)),
            (Fate::Failed | Fate::Dropped, _) => Some(self.watched.join(FAILED)),
        };
        let settled = tokio::task::spawn_blocking(move || put_away(&path, target.as_deref()));
        if let Ok(Err(error)) = settled.await {
            // It stays under way, so that it is not answered again and again.
            tracing::warn!(file = %self.path.display(), directory = %watched.display(), "cannot put an answered file away: {error}");
            return;
        }
        self.under_way.lock().remove(&self.path);
    }
}

/// Into `target` under a name that is free there, or off the disk.
fn put_away(path: &Path, target: Option<&Path>) -> io::Result<()> {
    let Some(target) = target else {
        return fs::remove_file(path);
    };
    fs::create_dir_all(target)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut free = target.join(name.as_ref());
    let mut number = 1;
    while free.exists() {
        free = target.join(format!("{number}-{name}"));
        number += 1;
    }
    fs::rename(path, free)
}

/// Takes files for as long as it is polled.
pub(super) async fn run(directory: Directory, reader: Reader, mut intake: Intake, gauge: Gauge) {
    let settle = Duration::from_millis(u64::from(directory.settle_ms));
    let mut ticks =
        tokio::time::interval((settle / 2).clamp(Duration::from_millis(1), LOOK_EVERY_MAX));
    let watched = PathBuf::from(&directory.path);
    let under_way = UnderWay::default();
    let mut seen = BTreeMap::new();
    loop {
        ticks.tick().await;
        let looked = {
            let (watched, extensions) = (watched.clone(), directory.extensions.clone());
            tokio::task::spawn_blocking(move || look(&watched, &extensions))
        };
        let files = match looked
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
        {
            Ok(files) => files,
            Err(error) => {
                let reason = format!("directory {} cannot be read: {error}", directory.path);
                gauge.trouble(Part::Source, &reason);
                continue;
            }
        };
        gauge.well(Part::Source);
        let ready = settled(&mut seen, files, &under_way.lock(), settle, Instant::now());
        for path in ready {
            under_way.lock().insert(path.clone());
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let found = Found {
                done: directory.done.clone(),
                watched: watched.clone(),
                under_way: under_way.clone(),
                path: path.clone(),
            };
            match tokio::task::spawn_blocking(move || fs::read(path)).await {
                Ok(Ok(bytes)) => {
                    let receipt = Some(Receipt::File(found));
                    intake
                        .take(&reader, Bytes::from(bytes), Echo::named(&name), receipt)
                        .await;
                }
                Ok(Err(error)) => {
                    tracing::warn!(file = name, "cannot be read: {error}");
                    found.settle(Fate::Failed).await;
                }
                Err(_) => found.settle(Fate::Failed).await,
            }
        }
    }
}

/// Files that have not changed for `settle`, in the order of their names.
fn settled(
    seen: &mut BTreeMap<PathBuf, Seen>,
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    under_way: &BTreeSet<PathBuf>,
    settle: Duration,
    now: Instant,
) -> Vec<PathBuf> {
    let before = std::mem::take(seen);
    let mut ready = Vec::new();
    for (path, length, modified) in files {
        if under_way.contains(&path) {
            continue;
        }
        let same = before
            .get(&path)
            .filter(|seen| seen.length == length && seen.modified == modified);
        let since = same.map_or(now, |seen| seen.since);
        if now.duration_since(since) >= settle {
            ready.push(path);
        } else {
            let now = Seen {
                length,
                modified,
                since,
            };
            seen.insert(path, now);
        }
    }
    ready
}

/// Files that may be inputs, the first names first, with length and time of change.
fn look(
    watched: &Path,
    extensions: &[String],
) -> io::Result<Vec<(PathBuf, u64, Option<SystemTime>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(watched)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let wanted =
            extensions.is_empty() || extensions.iter().any(|e| e.eq_ignore_ascii_case(ending));
        if name.starts_with('.') || !wanted {
            continue;
        }
        // Gone meanwhile, or no file: neither is an input.
        let Ok(facts) = entry.metadata() else {
            continue;
        };
        if facts.is_file() && facts.len() <= FILE_BYTES_MAX {
            files.push((entry.path(), facts.len(), facts.modified().ok()));
        }
    }
    files.sort();
    files.truncate(FILES_MAX);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_still_grows_is_not_read() {
        let (mut seen, none) = (BTreeMap::new(), BTreeSet::new());
        let settle = Duration::from_secs(1);
        let begin = Instant::now();
        let file = |length| vec![(PathBuf::from("/a.jpg"), length, None)];
        let at = |ms| begin + Duration::from_millis(ms);
        assert!(settled(&mut seen, file(10), &none, settle, at(0)).is_empty());
        assert!(settled(&mut seen, file(20), &none, settle, at(900)).is_empty());
        assert!(settled(&mut seen, file(20), &none, settle, at(1800)).is_empty());
        let ready = settled(&mut seen, file(20), &none, settle, at(1900));
        assert_eq!(ready, [PathBuf::from("/a.jpg")]);
        let under_way = ready.into_iter().collect();
        assert!(settled(&mut seen, file(20), &under_way, settle, at(9000)).is_empty());
    }

    #[test]
    fn only_whole_names_of_the_wanted_kind_are_seen_and_nothing_is_overwritten() {
        let watched = tempfile::tempdir().unwrap();
        for name in ["b.JPG", "a.jpg", ".c.jpg", "d.txt", "a.jpg.part"] {
            fs::write(watched.path().join(name), "x").unwrap();
        }
        let files = look(watched.path(), &["jpg".to_owned()]).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|(path, ..)| path.file_name().unwrap())
            .collect();
        assert_eq!(names, ["a.jpg", "b.JPG"]);
        let done = watched.path().join("done");
        for _ in 0..2 {
            fs::write(watched.path().join("a.jpg"), "x").unwrap();
            put_away(&watched.path().join("a.jpg"), Some(&done)).unwrap();
        }
        assert!(done.join("a.jpg").exists() && done.join("1-a.jpg").exists());
    }
}
