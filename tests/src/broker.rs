//! A real MQTT broker: mosquitto where it is installed, else the embedded one of `tests/broker`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::wait::until;
use crate::{checkout, program};

/// A broker starts in well under a second; a loaded machine may need a few.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// The answer to one CONNECT is a few bytes over loopback.
const GREETING_DEADLINE: Duration = Duration::from_secs(2);

/// A running broker on a loopback port.
pub struct Broker {
    address: SocketAddr,
    kind: &'static str,
    process: Process,
}

impl Broker {
    /// Starts a broker that writes its files below `directory`.
    ///
    /// # Errors
    /// When neither mosquitto nor the embedded broker can be started.
    pub async fn start(directory: &Path) -> Result<Self> {
        let address = free_port()?;
        let log = directory.join("broker.log");
        let (kind, mut command) = match mosquitto() {
            Some(path) => ("mosquitto", mosquitto_command(&path, directory, address)?),
            None => ("the embedded broker", embedded_command(address)?),
        };
        let mut process = Process::start("MQTT broker", &mut command, &log)?;
        until("answer from the MQTT broker", START_DEADLINE, async || {
            process.check_running()?;
            Ok(greet(address).ok())
        })
        .await
        .with_context(|| format!("{kind} takes no MQTT clients; its log is {}", log.display()))?;
        Ok(Self {
            address,
            kind,
            process,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which broker it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The process, to be looked at or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Leaves it running for good and tells its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn leave_running(self) -> Result<u32> {
        self.process.leave_running()
    }
}

/// One MQTT 3.1.1 CONNECT and its answer: a broker that only accepts the TCP connection is not ready yet, or never.
fn greet(address: SocketAddr) -> std::io::Result<()> {
    const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03try";
    const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(GREETING_DEADLINE))?;
    stream.write_all(CONNECT)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer == ACCEPTED {
        Ok(())
    } else {
        Err(std::io::Error::other("the broker refused the connection"))
    }
}

fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|directory| directory.join("mosquitto"))
        .find(|candidate| candidate.is_file())
}

fn mosquitto_command(program: &Path, directory: &Path, address: SocketAddr) -> Result<Command> {
    let config = directory.join("mosquitto.conf");
    // Started as root it would become another user, who may not be allowed to read /etc/hosts.allow below a private
    // root directory; Debian's mosquitto then refuses every client. Other users keep their own name whatever it says.
    let text = format!(
        "listener {} {}\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nuser root\n",
        address.port(),
        address.ip()
    );
    std::fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    Ok(command)
}

fn embedded_command(address: SocketAddr) -> Result<Command> {
    let beside = program("millwright-broker");
    let own = checkout().join("tests/broker/target/release/millwright-broker");
    let path = if own.is_file() {
        own
    } else {
        beside.context("no mosquitto either")?
    };
    let mut command = Command::new(path);
    command.arg(address.to_string());
    Ok(command)
}

/// Ports to try: outside the range the system hands out by itself (32768 and up), so that no program of another
/// case, asking for any port, takes this one before the broker has it.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Brokers this process has started; spreads the ports it tries.
static STARTED: AtomicU16 = AtomicU16::new(0);

/// A port nobody listens on now: mosquitto cannot be told to choose one itself.
fn free_port() -> Result<SocketAddr> {
    let count = u32::from(PORTS.end - PORTS.start);
    let first =
        std::process::id() % 10_000 * 31 + u32::from(STARTED.fetch_add(1, Ordering::SeqCst)) * 101;
    (0..count)
        .map(|step| PORTS.start + u16::try_from((first % count + step) % count).unwrap_or_default())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no free port for the MQTT broker")
}
