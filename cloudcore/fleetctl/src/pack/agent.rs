//! The program that runs the model: `edge-agent model describe` and `edge-agent model probe`.
//!
//! fleetctl never loads ONNX Runtime, so that a model nobody has looked at yet runs where it will run on a node: in the
//! agent's sandboxed worker.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use millwright_package::probe::{Ask, Described, Ready, Told};

use super::PackError;

const PROGRAM: &str = "edge-agent";

/// Longest line of an answer: a thousand ports of a model, or the numbers of 10,000 requests.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is shown of what it wrote to standard error.
const ERRORS_BYTES_MAX: usize = 2000;

/// Exit code for a command line that is not understood.
const USAGE: i32 = 2;

/// How the agent is run.
#[derive(Debug)]
pub(super) struct Agent {
    program: PathBuf,
    onnxruntime: Option<PathBuf>,
    /// Where its standard error goes.
    errors: PathBuf,
}

/// A running `model probe`.
#[derive(Debug)]
pub(super) struct Probe<'a> {
    agent: &'a Agent,
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    /// Finds the program: the one that is named, else beside this one, else on PATH.
    pub(super) fn find(
        named: Option<&Path>,
        onnxruntime: Option<&Path>,
        scratch: &Path,
    ) -> Result<Self, PackError> {
        let program = match named {
            Some(named) => named.to_owned(),
            None => found()?,
        };
        Ok(Self {
            program,
            onnxruntime: onnxruntime.map(Path::to_owned),
            errors: scratch.join("edge-agent.stderr"),
        })
    }

    fn command(&self, command: &'static str, path: &Path) -> Result<Command, PackError> {
        let errors = File::create(&self.errors).map_err(PackError::files("write", &self.errors))?;
        let mut started = Command::new(&self.program);
        started.args(["model", command]).arg(path).stderr(errors);
        if let Some(library) = &self.onnxruntime {
            started.arg("--onnxruntime").arg(library);
        }
        Ok(started)
    }

    /// What the model in `file` declares.
    pub(super) fn describe(&self, file: &Path) -> Result<Described, PackError> {
        let mut command = self.command("describe", file)?;
        let output = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| self.not_started(source))?
            .wait_with_output()
            .map_err(|source| self.not_started(source))?;
        if !output.status.success() {
            return Err(self.complaint("describe", output.status.code()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| PackError::AgentBroken {
            problem: format!("described the model in words that are not understood: {error}"),
        })
    }

    /// Opens the package in `directory` and runs its golden sets.
    pub(super) fn probe(&self, directory: &Path) -> Result<(Probe<'_>, Ready), PackError> {
        let mut command = self.command("probe", directory)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| self.not_started(source))?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(PackError::AgentBroken {
                problem: "has no standard input and output".to_owned(),
            });
        };
        let mut probe = Probe {
            agent: self,
            child,
            asks,
            answers: BufReader::new(answers),
        };
        match probe.told()? {
            Told::Ready(ready) => Ok((probe, ready)),
            other => Err(unexpected(&other)),
        }
    }

    fn not_started(&self, source: std::io::Error) -> PackError {
        PackError::AgentStart {
            path: self.program.clone(),
            source,
        }
    }

    /// What the program said before it ended.
    fn complaint(&self, command: &'static str, code: Option<i32>) -> PackError {
        let text = std::fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if code == Some(USAGE) {
            return PackError::AgentOld {
                path: self.program.clone(),
                command,
            };
        }
        match text.rfind("error: ") {
            Some(at) if code == Some(1) => {
                PackError::Agent(text[at + "error: ".len()..].trim_end().to_owned())
            }
            Some(_) | None => {
                let text = text.trim_end();
                let from = text.ceil_char_boundary(text.len().saturating_sub(ERRORS_BYTES_MAX));
                let problem = match (code, &text[from..]) {
                    (Some(code), "") => format!("ended with exit code {code} and said nothing"),
                    (None, "") => "was killed".to_owned(),
                    (_, said) => format!("ended and said: {said}"),
                };
                PackError::AgentBroken { problem }
            }
        }
    }
}

impl Probe<'_> {
    /// Asks and waits for the answer.
    pub(super) fn ask(&mut self, ask: &Ask) -> Result<Told, PackError> {
        let mut line = serde_json::to_vec(ask).map_err(|error| PackError::AgentBroken {
            problem: format!("cannot be asked: {error}"),
        })?;
        line.push(b'\n');
        // When it is gone, its last words are worth more than that writing failed.
        let _ = self.asks.write_all(&line).and_then(|()| self.asks.flush());
        match self.told()? {
            Told::Refused { message } => Err(PackError::Agent(message)),
            told => Ok(told),
        }
    }

    fn told(&mut self) -> Result<Told, PackError> {
        let mut line = String::new();
        let read = (&mut self.answers)
            .take(LINE_BYTES_MAX)
            .read_line(&mut line);
        if matches!(read, Ok(0) | Err(_)) {
            let status = self.child.wait();
            let code = status.ok().and_then(|status| status.code());
            return Err(self.agent.complaint("probe", code));
        }
        serde_json::from_str(&line).map_err(|error| PackError::AgentBroken {
            problem: format!("said something that is not understood: {error}"),
        })
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        // It ends with its standard input anyway; a model that computes must not be waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn unexpected(told: &Told) -> PackError {
    PackError::AgentBroken {
        problem: format!("answered with something else than was asked: {told:?}"),
    }
}

fn found() -> Result<PathBuf, PackError> {
    let beside = std::env::current_exe().unwrap_or_default();
    let beside = beside.parent().unwrap_or(Path::new(".")).to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside.clone())
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(PROGRAM))
        .find(|program| program.is_file())
        .ok_or(PackError::NoAgent { beside })
}
