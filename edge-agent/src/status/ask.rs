//! `edge-agent status`: asks the agent that runs on a data directory, or reads the directory.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use thiserror::Error;

use super::{Status, gather, text};
use crate::app::addresses::Addresses;
use crate::config::{OutputFormat, StatusArguments};
use crate::data_dir::{Layout, read_if_present};

/// Exit code when no agent runs; documented in `edge-agent status --help`.
const NOT_RUNNING: u8 = 3;

/// Longest wait for the agent's answer: it is on this machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Largest answer read: a few hundred models with their messages.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a running agent did not tell its status.
#[derive(Debug, Error)]
pub enum AskError {
    /// It has not said where it listens.
    #[error(
        "an agent runs on {data_dir}, but has not said where it listens: it is starting, or cannot write {addresses}; try again"
    )]
    NoAddress {
        /// Where it runs.
        data_dir: PathBuf,
        /// Where it would say so.
        addresses: PathBuf,
    },
    /// It does not answer.
    #[error("the agent on {data_dir} does not answer at {address}: try again, and look at its log")]
    Silent {
        /// Where it runs.
        data_dir: PathBuf,
        /// Where it was asked.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else answers.
    #[error("what answers at {address} is not the agent on {data_dir}")]
    NotOurs {
        /// Where it runs.
        data_dir: PathBuf,
        /// Where it was asked.
        address: SocketAddr,
    },
}

/// Runs the command; its exit codes are in its help.
///
/// # Errors
/// When nothing can be told.
pub fn run(arguments: StatusArguments) -> anyhow::Result<ExitCode> {
    let data_dir = arguments.node.data_dir()?;
    let status = status(&data_dir)?;
    match arguments.output {
        OutputFormat::Text => print!("{}", text::text(&status)),
        OutputFormat::Json => println!("{}", serde_json::to_string_pretty(&status)?),
    }
    Ok(match status.running {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NOT_RUNNING),
    })
}

/// The status of the agent on `data_dir`, running or not.
///
/// # Errors
/// When the directory cannot be read, or a running agent does not answer.
pub fn status(data_dir: &Path) -> anyhow::Result<Status> {
    let root = data_dir.canonicalize().with_context(|| {
        format!(
            "cannot look into the data directory {}: run this as the user of the agent (or with sudo), or name \
             another with --data-dir DIR",
            data_dir.display()
        )
    })?;
    let layout = Layout::at(&root);
    let in_use = layout.is_in_use().with_context(|| {
        format!(
            "cannot tell whether an agent runs on {}: run this as the user of the agent, or with sudo",
            root.display()
        )
    })?;
    if in_use {
        return Ok(ask(&layout)?);
    }
    Ok(gather::from_directory(&layout, wall_ms()))
}

/// Asks the running agent.
pub(crate) fn ask(layout: &Layout) -> Result<Status, AskError> {
    let data_dir = || layout.root().to_owned();
    let bytes = read_if_present(&layout.addresses()).ok().flatten();
    let address = bytes.and_then(|bytes| serde_json::from_slice::<Addresses>(&bytes).ok());
    let Some(Addresses { http, .. }) = address else {
        let (data_dir, addresses) = (data_dir(), layout.addresses());
        return Err(AskError::NoAddress {
            data_dir,
            addresses,
        });
    };
    let address = reachable(http);
    let answer = get(address, "/status").map_err(|source| AskError::Silent {
        data_dir: data_dir(),
        address,
        source,
    })?;
    let told: Option<Status> = serde_json::from_slice(&answer).ok();
    told.filter(|told| Path::new(&told.node.data_dir) == layout.root())
        .ok_or_else(|| AskError::NotOurs {
            data_dir: data_dir(),
            address,
        })
}

/// Where a socket that listens everywhere can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// One request by HTTP/1.0, which ends with the connection: no client library is worth this.
fn get(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let head_end = head_end.ok_or_else(|| std::io::Error::other("the answer is no HTTP"))?;
    Ok(answer.split_off(head_end + 4))
}

/// This machine's clock.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
