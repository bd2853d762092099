//! Whether this node can keep what it has to: told once when that changes, shown for as long as it holds.
//!
//! A full or read-only disk never stops inference. What could not be stored is tried again by whoever
//! wanted it stored; here is only what people have to know: which part fails, why, and what to do.
//! It reaches them as a log line, as the condition `StorageFailing` and in `edge-agent status`.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The data directory as a whole: read-only, or not ours.
    DataDirectory,
    /// The desired state's two files.
    DesiredState,
    /// Which versions were active, and which were given up.
    WorkingState,
    /// Records on their way to the cloud.
    Outbox,
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataDirectory => "the data directory",
            Self::DesiredState => "the desired state",
            Self::WorkingState => "the working state",
            Self::Outbox => "the outbox",
        })
    }
}

/// What fails, and why.
pub type Problems = BTreeMap<Part, String>;

/// Takes note of what could and could not be stored. A cheap handle.
#[derive(Clone, Debug)]
pub struct StorageHealth {
    problems: Arc<watch::Sender<Problems>>,
    data_dir: Arc<PathBuf>,
}

impl StorageHealth {
    /// All well with `data_dir` so far.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            problems: Arc::new(watch::Sender::new(Problems::new())),
            data_dir: Arc::new(data_dir),
        }
    }

    /// `part` was stored, or not and why. Logs only when that is news.
    pub fn note<T, E: Display>(&self, part: Part, outcome: &Result<T, E>) {
        let problem = outcome.as_ref().err().map(ToString::to_string);
        let data_dir = self.data_dir.display();
        self.problems.send_if_modified(|problems| {
            let before = match &problem {
                Some(problem) => problems.insert(part, problem.clone()),
                None => problems.remove(&part),
            };
            match (&before, &problem) {
                (None, Some(problem)) => tracing::error!(
                    "{part} cannot be stored: {problem}; models are served on. Free space below {data_dir}, \
                     or make it writable again; nothing else is needed"
                ),
                (Some(_), None) => tracing::info!("{part} can be stored again"),
                (Some(_), Some(_)) | (None, None) => {}
            }
            before != problem
        });
    }

    /// What fails now, and every change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Problems> {
        self.problems.subscribe()
    }
}

/// What fails as one line for people; `None` when nothing does.
#[must_use]
pub fn told(problems: &Problems) -> Option<String> {
    let lines: Vec<String> = problems
        .iter()
        .map(|(part, problem)| format!("{part}: {problem}"))
        .collect();
    (!lines.is_empty()).then(|| {
        format!(
            "{}; free space in the data directory, or make it writable again",
            lines.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_shown_until_it_works_again() {
        let health = StorageHealth::new("/data".into());
        let mut seen = health.watch();
        health.note(Part::Outbox, &Err::<(), _>("no room"));
        assert!(seen.has_changed().unwrap());
        let text = told(&seen.borrow_and_update()).unwrap();
        assert!(text.starts_with("the outbox: no room;"), "{text}");
        health.note(Part::Outbox, &Err::<(), _>("no room"));
        assert!(!seen.has_changed().unwrap(), "the same again is no news");
        health.note(Part::WorkingState, &Ok::<_, String>(()));
        health.note(Part::Outbox, &Ok::<_, String>(()));
        assert_eq!(told(&seen.borrow_and_update()), None);
    }
}
