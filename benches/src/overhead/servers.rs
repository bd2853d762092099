//! Servers of others with the same model: started in a process group of their own, ended with all they started.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use millwright_tests::infer::Input;
use millwright_tests::process::Process;
use millwright_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::MODEL;
use super::http::{self, Client};
use crate::peers;

/// Python, a web server, a model and, for one, all of Triton.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// Which server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Mosec,
    Litserve,
    Pytriton,
}

/// One server that answers.
pub(super) struct Server {
    /// One connection to it.
    pub(super) client: Client,
    _family: Family,
}

/// A process and everything it started.
struct Family(Process);

impl Kind {
    /// As the rows call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mosec => "mosec, HTTP, raw floats",
            Self::Litserve => "LitServe, HTTP, JSON",
            Self::Pytriton => "PyTriton (Triton), HTTP, binary tensors",
        }
    }

    fn script(self) -> PathBuf {
        peers::file(match self {
            Self::Mosec => "mosec_server.py",
            Self::Litserve => "litserve_server.py",
            Self::Pytriton => "pytriton_server.py",
        })
    }

    fn python(self) -> Result<PathBuf> {
        match self {
            Self::Mosec | Self::Litserve => peers::python(),
            Self::Pytriton => peers::python_for_triton(),
        }
    }

    fn request(self, row: &Input) -> Vec<u8> {
        match self {
            Self::Mosec => http::mosec(row),
            Self::Litserve => http::litserve(row),
            Self::Pytriton => http::open_inference(MODEL, row),
        }
    }
}

impl Server {
    /// Starts it with the model of `package` and waits for its first answer.
    pub(super) async fn start(
        kind: Kind,
        package: &Path,
        directory: &Path,
        row: &Input,
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(kind.python()?);
        command
            .arg(kind.script())
            .args(["--port", &address.port().to_string()])
            .env("MODEL", package.join("model.onnx"))
            .current_dir(directory)
            .process_group(0);
        if matches!(kind, Kind::Mosec) {
            command.args(["--address", "127.0.0.1"]);
        }
        let log = directory.join(format!("{kind:?}.log"));
        let mut family = Family(Process::start(kind.name(), &mut command, &log)?);
        let client = until("first answer of the peer", START_DEADLINE, async || {
            family.0.check_running()?;
            let mut client = match Client::tcp(address, kind.request(row)) {
                Ok(client) => client,
                Err(_) => return Ok(None),
            };
            Ok(client.ask().is_ok().then_some(client))
        })
        .await?;
        Ok(Self {
            client,
            _family: family,
        })
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Drop for Family {
    fn drop(&mut self) {
        let Some(first) = self.0.id().ok().and_then(|id| i32::try_from(id).ok()) else {
            return;
        };
        // Some of them leave the group; who is left alone is nobody's child any more, so all are listed before any ends.
        let mut all = vec![first];
        let mut at = 0;
        while let Some(&process) = all.get(at) {
            all.extend(children(process));
            at += 1;
        }
        let _ = Pid::from_raw(first).map(|group| kill_process_group(group, Signal::KILL));
        for process in all.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

/// The children of all threads of a process.
fn children(process: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|listed| {
            let numbers = listed.split_whitespace().map(str::parse);
            numbers.filter_map(Result::ok).collect::<Vec<i32>>()
        })
        .collect()
}
