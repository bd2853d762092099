//! A real `edge-agent`: enrolled, running, killed, started again.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cloud::{Cloud, read_json};
use crate::infer::InferClient;
use crate::packages::onnxruntime;
use crate::process::Process;
use crate::program;
use crate::wait::until;

/// An agent listens within a second; a loaded machine with a debug build needs more.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Time to drain requests, end workers and flush.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// What differs between the agents of the cases.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Dialled instead of the QUIC address of the enrollment.
    pub quic: Option<SocketAddr>,
    /// Dialled instead of the WebSocket address of the enrollment.
    pub websocket: Option<SocketAddr>,
    /// Length of a summary window in seconds.
    pub summary_window_seconds: u32,
    /// The shared library of ONNX Runtime.
    pub onnxruntime: PathBuf,
    /// The `mqtt:` part of the agent's configuration, as YAML.
    pub mqtt: Option<String>,
    /// Files with pipelines.
    pub pipelines: Vec<PathBuf>,
    /// Further lines of the `cloud:` part, as YAML.
    pub cloud: Vec<String>,
    /// What it logs, as for `--log`.
    pub log: &'static str,
    /// Further flags of `edge-agent run --model`.
    pub flags: Vec<&'static str>,
}

/// Proxies of the machine that runs the cases are none of an agent's business.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];

impl AgentOptions {
    /// Windows of one second, the real runtime, no MQTT, addresses from enrollment.
    ///
    /// # Errors
    /// When the set-up has not run.
    pub fn quick() -> Result<Self> {
        Ok(Self {
            quic: None,
            websocket: None,
            summary_window_seconds: 1,
            onnxruntime: onnxruntime()?,
            mqtt: None,
            pipelines: Vec::new(),
            cloud: Vec::new(),
            log: "info",
            flags: Vec::new(),
        })
    }
}

#[derive(Deserialize)]
struct AgentAddresses {
    http: SocketAddr,
    /// Absent when gRPC is off.
    grpc: Option<SocketAddr>,
}

/// An agent with its data below one directory.
pub struct Agent {
    name: String,
    directory: PathBuf,
    http: SocketAddr,
    process: Process,
}

impl Agent {
    /// Enrolls a node at `site` and runs its agent.
    ///
    /// # Errors
    /// When enrollment is refused or the agent does not come up.
    pub async fn start(
        cloud: &Cloud,
        directory: &Path,
        site: &str,
        name: &str,
        options: &AgentOptions,
    ) -> Result<Self> {
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory).context("making the agent's directory")?;
        let output = enroll(cloud, &directory, name, &cloud.join_token(site)?)?;
        ensure!(
            output.status.success(),
            "edge-agent enroll ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
        );
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, http) = run(&directory, any, options).await?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            http,
            process,
        })
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its inference protocol listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<u32> {
        self.process.id()
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("agent")
    }

    /// The process, to be killed or asked.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a power cut would and starts it again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn kill_and_restart(&mut self, options: &AgentOptions) -> Result<()> {
        self.process.kill()?;
        self.start_again(options).await
    }

    /// Starts it again on the same port after it ended.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn start_again(&mut self, options: &AgentOptions) -> Result<()> {
        (self.process, self.http) = run(&self.directory, self.http, options).await?;
        Ok(())
    }

    /// Starts it again where its data directory can only be read: it listens where it listened before,
    /// and nothing says when.
    ///
    /// # Errors
    /// When it ends or does not answer.
    pub async fn start_where_nothing_can_be_written(
        &mut self,
        options: &AgentOptions,
    ) -> Result<()> {
        self.process = spawn(&self.directory, self.http, options)?;
        let client = InferClient::new(self.http)?;
        until("the endpoint of edge-agent", START_DEADLINE, async || {
            self.process.check_running()?;
            Ok(client.get("/v2/health/live").await.ok().map(drop))
        })
        .await
    }

    /// Ends it well.
    ///
    /// # Errors
    /// When it does not end or not well.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP_DEADLINE).await
    }

    /// Leaves it running for good and tells its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn leave_running(self) -> Result<u32> {
        self.process.leave_running()
    }
}

/// Runs `edge-agent enroll`, whatever comes out of it.
///
/// # Errors
/// When it cannot be started.
pub fn enroll(cloud: &Cloud, directory: &Path, name: &str, token: &str) -> Result<Output> {
    enrollment(cloud, directory, name, token)?
        .output()
        .context("starting edge-agent enroll")
}

/// The command `edge-agent enroll`, not run yet.
///
/// # Errors
/// When the program or the trust key is missing.
pub fn enrollment(cloud: &Cloud, directory: &Path, name: &str, token: &str) -> Result<Command> {
    let mut trust_key = cloud.signing_key()?.into_os_string();
    trust_key.push(".pub");
    let mut command = Command::new(program("edge-agent")?);
    PROXY_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
        .args([
            "enroll",
            "--cloud",
            &cloud.addresses().api.to_string(),
            "--token",
            token,
        ])
        .args(["--name", name, "--label", "line=one", "--trust-key"])
        .arg(trust_key)
        .arg("--data-dir")
        .arg(directory.join("agent"));
    Ok(command)
}

async fn run(
    directory: &Path,
    http: SocketAddr,
    options: &AgentOptions,
) -> Result<(Process, SocketAddr)> {
    let data = directory.join("agent");
    let addresses = data.join("addresses.json");
    if addresses.exists() {
        std::fs::remove_file(&addresses).context("removing the old addresses")?;
    }
    let mut process = spawn(directory, http, options)?;
    let addresses: AgentAddresses =
        until("addresses.json of edge-agent", START_DEADLINE, async || {
            process.check_running()?;
            read_json(&addresses)
        })
        .await?;
    Ok((process, addresses.http))
}

fn spawn(directory: &Path, http: SocketAddr, options: &AgentOptions) -> Result<Process> {
    let data = directory.join("agent");
    let config = directory.join("edge-agent.yaml");
    std::fs::write(&config, configuration(&data, http, options)?)
        .context("writing edge-agent.yaml")?;
    let mut command = Command::new(program("edge-agent")?);
    command.arg("run").arg("--config").arg(&config);
    command.args(["--log", options.log]);
    PROXY_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    Process::start(
        "edge-agent",
        &mut command,
        &directory.join("edge-agent.log"),
    )
}

/// `edge-agent run --model DIR`: one package without any cloud.
pub struct Trial {
    http: SocketAddr,
    grpc: Option<SocketAddr>,
    data: PathBuf,
    process: Process,
}

impl Trial {
    /// Serves `package`, with its data below `directory`.
    ///
    /// # Errors
    /// When the agent does not come up or ends, with the end of its log.
    pub async fn start(directory: &Path, package: &Path, options: &AgentOptions) -> Result<Self> {
        let data = directory.join("trial");
        let mut command = Command::new(program("edge-agent")?);
        command
            .arg("run")
            .arg("--model")
            .arg(package)
            .arg("--data-dir")
            .arg(&data);
        command
            .args(["--http", "127.0.0.1:0"])
            .arg("--onnxruntime")
            .arg(&options.onnxruntime);
        for file in &options.pipelines {
            command.arg("--pipeline").arg(file);
        }
        command.args(&options.flags);
        let log = directory.join("trial.log");
        let mut process = Process::start("edge-agent run --model", &mut command, &log)?;
        let file = data.join("addresses.json");
        let addresses: AgentAddresses =
            until("addresses.json of edge-agent", START_DEADLINE, async || {
                process.check_running()?;
                read_json(&file)
            })
            .await?;
        let mut trial = Self {
            http: addresses.http,
            grpc: addresses.grpc,
            data,
            process,
        };
        let client = trial.client()?;
        until("readiness of the trial", START_DEADLINE, async || {
            trial.process.check_running()?;
            Ok((client.get("/health").await?.0 == 200).then_some(()))
        })
        .await?;
        Ok(trial)
    }

    /// Where its inference protocol listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its inference protocol listens for gRPC.
    ///
    /// # Errors
    /// When gRPC is off.
    pub fn grpc(&self) -> Result<SocketAddr> {
        self.grpc.context("this agent takes no gRPC")
    }

    /// A client of its inference protocol.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self) -> Result<InferClient> {
        InferClient::new(self.http)
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> &Path {
        &self.data
    }

    /// The process, to be killed or asked.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn configuration(data: &Path, http: SocketAddr, options: &AgentOptions) -> Result<String> {
    let mut yaml = format!(
        "dataDir: {}\nhttp: {http}\ngrpc: 127.0.0.1:0\nonnxruntime: {}\nsummaryWindowSeconds: {}\n",
        data.display(),
        options.onnxruntime.display(),
        options.summary_window_seconds,
    );
    if options.quic.is_some() || options.websocket.is_some() || !options.cloud.is_empty() {
        writeln!(yaml, "cloud:")?;
    }
    if let Some(address) = options.quic {
        writeln!(yaml, "  quic: {address}")?;
    }
    if let Some(address) = options.websocket {
        writeln!(yaml, "  websocket: {address}")?;
    }
    for line in &options.cloud {
        writeln!(yaml, "  {line}")?;
    }
    if let Some(mqtt) = &options.mqtt {
        writeln!(yaml, "mqtt:\n{mqtt}")?;
    }
    if !options.pipelines.is_empty() {
        writeln!(yaml, "pipelines:")?;
    }
    for file in &options.pipelines {
        writeln!(yaml, "  - {}", file.display())?;
    }
    Ok(yaml)
}
