//! The way to ONNX Runtime: where its shared library is, and the thread that starts workers with it.
//!
//! A node without it runs on: models wait, and the library is looked for again with each attempt.

use std::path::{Path, PathBuf};

use edge_core::models::{Failure, FailureClass};

use crate::worker::{WorkerHost, WorkerProgram, WorkerSettings};

/// Directories of Debian, Fedora and of hand-made installations, looked through in this order.
const DIRECTORIES: [&str; 7] = [
    "/usr/lib/millwright",
    "/opt/onnxruntime/lib",
    "/usr/local/lib",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
    #[cfg(not(target_arch = "aarch64"))]
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib",
];

/// What the library is called, also with a version after it.
const LIBRARY: &str = "libonnxruntime.so";

/// What is known of ONNX Runtime on this node.
#[derive(Debug)]
pub struct Runtime {
    configured: Option<PathBuf>,
    settings: WorkerSettings,
    executable: Option<PathBuf>,
    state: State,
    /// What the last worker said that could not load the library.
    complaint: Option<String>,
}

#[derive(Debug)]
enum State {
    /// Not found yet; `problem` says where it was looked for.
    Missing { problem: String },
    /// Found; workers can be started.
    Found { library: PathBuf, host: WorkerHost },
}

impl Runtime {
    /// Looks for the library: only at `configured` when that is given, else in the usual places and
    /// beside this program. Workers run as `settings` say.
    #[must_use]
    pub fn find(configured: Option<PathBuf>, settings: WorkerSettings) -> Self {
        let mut runtime = Self {
            configured,
            settings,
            executable: std::env::current_exe().ok(),
            state: State::Missing {
                problem: String::new(),
            },
            complaint: None,
        };
        runtime.look();
        runtime
    }

    /// Why there is none; `None` when there is one.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match &self.state {
            State::Missing { problem } => Some(problem),
            State::Found { .. } => self.complaint.as_deref(),
        }
    }

    /// A worker could load the library (`None`), or could not.
    pub(super) fn tried(&mut self, complaint: Option<String>) {
        self.complaint = complaint;
    }

    /// The library, when it was found.
    #[must_use]
    pub fn library(&self) -> Option<&Path> {
        match &self.state {
            State::Missing { .. } => None,
            State::Found { library, .. } => Some(library),
        }
    }

    /// The thread that starts workers; looks for the library again when it was missing.
    pub(crate) fn host(&mut self) -> Result<WorkerHost, Failure> {
        if self.problem().is_some() || self.library().is_some_and(|library| !library.is_file()) {
            self.look();
        }
        match &self.state {
            State::Found { host, .. } => Ok(host.clone()),
            State::Missing { problem } => Err(Failure {
                class: FailureClass::RuntimeMissing,
                message: problem.clone(),
            }),
        }
    }

    fn look(&mut self) {
        self.state = match self.locate() {
            Err(problem) => State::Missing { problem },
            Ok(library) => {
                let program =
                    WorkerProgram::this_executable(Some(library.clone()), self.settings.clone());
                match WorkerHost::start(program) {
                    Ok(host) => State::Found { library, host },
                    Err(error) => State::Missing {
                        problem: format!("no thread to start workers: {error}"),
                    },
                }
            }
        };
    }

    fn locate(&self) -> Result<PathBuf, String> {
        const REMEDY: &str = "install ONNX Runtime 1.24 or later (the PyPI wheel `onnxruntime` holds it) and name its libonnxruntime.so with --onnxruntime FILE, EDGE_AGENT_ONNXRUNTIME, or `onnxruntime` in edge-agent.yaml";
        if let Some(configured) = &self.configured {
            return if configured.is_file() {
                // Workers have another working directory.
                std::path::absolute(configured).map_err(|error| error.to_string())
            } else {
                Err(format!(
                    "ONNX Runtime is missing: {} does not exist; {REMEDY}",
                    configured.display()
                ))
            };
        }
        let beside = self.executable.as_deref().and_then(Path::parent);
        let places: Vec<&Path> = beside
            .into_iter()
            .chain(DIRECTORIES.iter().map(Path::new))
            .collect();
        places
            .iter()
            .find_map(|place| library_in(place))
            .ok_or_else(|| {
                let places: Vec<_> = places
                    .iter()
                    .map(|place| place.display().to_string())
                    .collect();
                format!(
                    "ONNX Runtime is missing: no {LIBRARY} in {}; {REMEDY}",
                    places.join(", ")
                )
            })
    }
}

/// The library in `directory`: the plain name, else the highest version by name.
fn library_in(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(LIBRARY)) && path.is_file()
    };
    let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = found.filter(is_library).collect();
    found.sort();
    match found.iter().position(|path| path.ends_with(LIBRARY)) {
        Some(plain) => Some(found.swap_remove(plain)),
        None => found.pop(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_says_how_to_give_it_and_is_found_when_it_appears() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join(LIBRARY);
        let mut runtime = Runtime::find(Some(library.clone()), WorkerSettings::default());
        let failure = runtime.host().unwrap_err();
        assert_eq!(failure.class, FailureClass::RuntimeMissing);
        for word in [
            "--onnxruntime",
            "EDGE_AGENT_ONNXRUNTIME",
            library.to_str().unwrap(),
        ] {
            assert!(failure.message.contains(word), "{}", failure.message);
        }
        std::fs::write(&library, b"").unwrap();
        runtime.host().unwrap();
        assert_eq!(
            (runtime.problem(), runtime.library()),
            (None, Some(library.as_path()))
        );
    }

    #[test]
    fn the_plain_name_is_taken_before_a_versioned_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(library_in(dir.path()), None);
        for name in [
            "libonnxruntime.so.1.31.1",
            "libonnxruntime.so.1.24.0",
            "other.so",
        ] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        assert_eq!(
            library_in(dir.path()),
            Some(dir.path().join("libonnxruntime.so.1.31.1"))
        );
        std::fs::write(dir.path().join(LIBRARY), b"").unwrap();
        assert_eq!(library_in(dir.path()), Some(dir.path().join(LIBRARY)));
    }
}
