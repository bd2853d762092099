//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use millwright_proto::ids::{NodeName, PipelineName};

use super::Listen;

/// Runs AI models next to the machine they watch, online or not.
#[derive(Clone, Debug, Parser)]
#[command(name = "edge-agent", version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  Serve one package, without any cloud:
    edge-agent run --model ./face-detector
  Join a fleet, then serve what it wants:
    edge-agent enroll --cloud cloud.example:8443 --token mwj1.… --trust-key models.pub.pem
    edge-agent run
  See how this node is doing, and keep it as it is for a shift:
    edge-agent status
    edge-agent hold --for 8h --reason \"quality audit\"")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "EDGE_AGENT_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or per module (edge_agent::link=debug).
    #[arg(
        long,
        global = true,
        default_value = "info",
        env = "EDGE_AGENT_LOG",
        value_name = "FILTER"
    )]
    pub log: String,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make this machine a node of a fleet.
    Enroll(EnrollArguments),
    /// Serve models.
    Run(Box<RunArguments>),
    /// Tell how this node is doing, and what to do about what is wrong.
    Status(StatusArguments),
    /// Keep the model versions that run now, whatever the cloud wants.
    Hold(HoldArguments),
    /// Look at pipelines before they run.
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// Look at a model and try it on this machine.
    #[command(subcommand)]
    Model(ModelCommand),
    /// See and copy the inputs that models found hard.
    HardExamples(HardExampleArguments),
    /// Hold one loaded model; the agent starts this itself.
    #[command(hide = true)]
    Worker,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags of `edge-agent enroll`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  On the cloud side, make a token for site `berlin`:
    fleetctl token create --site berlin
  On the node:
    edge-agent enroll --cloud cloud.example:8443 --token mwj1.… --trust-key models.pub.pem \\
        --name line1-cam2 --label line=1 --label camera=basler")]
pub struct EnrollArguments {
    /// Address of cloudcore's HTTPS endpoint, host:port; without a port 8443.
    #[arg(long, env = "EDGE_AGENT_CLOUD", value_name = "HOST:PORT")]
    pub cloud: String,
    /// Join token from `fleetctl token create`. Prefer the environment variable: other users of
    /// this machine can see flags.
    #[arg(long, env = "EDGE_AGENT_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Name of the node: a-z, 0-9 and -. Default: the host's name.
    #[arg(long, env = "EDGE_AGENT_NAME")]
    pub name: Option<NodeName>,
    /// Public key (PEM) whose signatures on model packages count; may be repeated.
    #[arg(long = "trust-key", value_name = "FILE")]
    pub trust_keys: Vec<PathBuf>,
    /// Label of the node, key=value; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// Where the agent will be; its configuration file also says which proxy leads to the cloud.
    #[command(flatten)]
    pub node: NodeArguments,
    /// Replace the identity this machine has already.
    #[arg(long)]
    pub force: bool,
}

/// Flags of `edge-agent run`. Each can stand in `edge-agent.yaml` too.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  Serve what the fleet wants (after `edge-agent enroll`):
    edge-agent run --config /etc/millwright/edge-agent.yaml
  Try one package:
    edge-agent run --model ./face-detector --http 127.0.0.1:9000
    curl http://127.0.0.1:9000/v2/models/face-detector
  Let a camera feed it:
    edge-agent run --model ./face-detector --pipeline gate.yaml
  Take requests from other machines by gRPC, and from this one by a socket only its group may use:
    edge-agent run --grpc 0.0.0.0:8081 --socket /run/millwright/infer.sock
    curl --unix-socket /run/millwright/infer.sock http://x/v2/health/ready
  Load the package again after it was changed:
    curl -X POST http://127.0.0.1:9000/v2/repository/models/face-detector/load")]
pub struct RunArguments {
    /// Configuration file (YAML).
    #[arg(long, env = "EDGE_AGENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the agent keeps its state. Default: /var/lib/millwright
    #[arg(long, env = "EDGE_AGENT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Serve this one package and no other, without any cloud.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quic", "websocket"])]
    pub model: Option<PathBuf>,
    /// With --model: public key (PEM) that must have signed the package; may be repeated.
    #[arg(long = "trust-key", value_name = "FILE")]
    pub trust_keys: Vec<PathBuf>,
    /// Run the pipelines of this file, or of the .yaml files of this directory, too; may be repeated.
    #[arg(long = "pipeline", value_name = "FILE")]
    pub pipelines: Vec<PathBuf>,
    /// Address of the local HTTP endpoint; port 0 takes any free one. Default: 127.0.0.1:8080
    #[arg(long, env = "EDGE_AGENT_HTTP", value_name = "ADDRESS:PORT")]
    pub http: Option<SocketAddr>,
    /// Address of the gRPC endpoint, or `off`; port 0 takes any free one. Default: 127.0.0.1:8081
    #[arg(long, env = "EDGE_AGENT_GRPC", value_name = "ADDRESS:PORT")]
    pub grpc: Option<Listen<SocketAddr>>,
    /// Unix socket that takes HTTP and gRPC, or `off`; who may use it is `socket: {mode: "0660"}` in the configuration.
    /// Default: infer.sock in the data directory, where there is one
    #[arg(long, env = "EDGE_AGENT_SOCKET", value_name = "FILE")]
    pub socket: Option<Listen<PathBuf>>,
    /// Shared library of ONNX Runtime (libonnxruntime.so, 1.24 or later).
    #[arg(long, env = "EDGE_AGENT_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// Where to reach cloudcore by QUIC, instead of the address from enrollment.
    #[arg(long, env = "EDGE_AGENT_QUIC", value_name = "HOST:PORT")]
    pub quic: Option<String>,
    /// Where to reach cloudcore by WebSocket, instead of the address from enrollment.
    #[arg(long, env = "EDGE_AGENT_WEBSOCKET", value_name = "HOST:PORT")]
    pub websocket: Option<String>,
    /// Length of a summary window: 30s, 5m, or seconds. Default: what the cloud says, else 60s
    #[arg(long, env = "EDGE_AGENT_SUMMARY_WINDOW", value_name = "TIME", value_parser = duration)]
    pub summary_window: Option<Duration>,
}

/// Where the agent is.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeArguments {
    /// Where the agent keeps its state. Default: /var/lib/millwright
    #[arg(long, global = true, env = "EDGE_AGENT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The configuration file the agent runs with, when it has one.
    #[arg(long, global = true, env = "EDGE_AGENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `edge-agent status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  an agent runs here and answered
  1  nothing can be told; the message says why
  3  no agent runs here; what its directory tells is shown

Examples:
  edge-agent status
  edge-agent status -o json | jq .advice")]
pub struct StatusArguments {
    /// Where the agent is.
    #[command(flatten)]
    pub node: NodeArguments,
    /// For people or for programs.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    pub output: OutputFormat,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Flags of `edge-agent hold`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A held node keeps the model versions it runs: it takes on no new ones and goes back to none, it
serves, restarts what crashes and reports. The hold survives restarts and power cuts, and the cloud
sees it (condition Held of the node).

Examples:
  edge-agent hold --reason \"commissioning of press 4\"
  edge-agent hold --for 8h --reason \"quality audit\"
  edge-agent hold --release")]
pub struct HoldArguments {
    /// Where the agent is.
    #[command(flatten)]
    pub node: NodeArguments,
    /// Why, for whoever sees it in the cloud.
    #[arg(long, default_value = "", conflicts_with = "release")]
    pub reason: String,
    /// End by itself after this time (30m, 8h); without it, only by --release.
    #[arg(long = "for", value_name = "TIME", value_parser = some_time, conflicts_with = "release")]
    pub duration: Option<Duration>,
    /// End the hold.
    #[arg(long)]
    pub release: bool,
}

/// What to do with pipelines.
#[derive(Clone, Debug, Subcommand)]
pub enum PipelineCommand {
    /// Say whether files are right, and what their pipelines will do. Nothing is run.
    Check(PipelineCheckArguments),
}

/// Flags of `edge-agent pipeline check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  edge-agent pipeline check gate.yaml
  edge-agent pipeline check gate.yaml --model ./face-detector")]
pub struct PipelineCheckArguments {
    /// Files with pipelines, or directories of such files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A model package: say whether the pipelines fit it, too.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
}

/// What to do with a model.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelCommand {
    /// Open an ONNX file in a worker and tell its inputs and outputs, as JSON.
    Describe(ModelDescribeArguments),
    /// Open a package in a worker, run its golden sets, and answer what is asked on standard input;
    /// `fleetctl model pack` uses it.
    #[command(hide = true)]
    Probe(ModelProbeArguments),
}

/// Flags of `edge-agent model describe`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  edge-agent model describe detector.onnx | jq .inputs")]
pub struct ModelDescribeArguments {
    /// The model. The worker that opens it may read the directory it is in, and nothing else.
    pub file: PathBuf,
    /// Shared library of ONNX Runtime (libonnxruntime.so, 1.24 or later).
    #[arg(long, env = "EDGE_AGENT_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

/// Flags of `edge-agent model probe`.
#[derive(Clone, Debug, Args)]
pub struct ModelProbeArguments {
    /// The package; its signature is not looked at.
    pub directory: PathBuf,
    /// Shared library of ONNX Runtime (libonnxruntime.so, 1.24 or later).
    #[arg(long, env = "EDGE_AGENT_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

/// Flags of `edge-agent hard-examples`.
#[derive(Clone, Debug, Args)]
pub struct HardExampleArguments {
    /// Where the agent is.
    #[command(flatten)]
    pub node: NodeArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: HardExampleCommand,
}

/// What to do with hard examples.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "\
Examples:
  edge-agent hard-examples list
  edge-agent hard-examples export --to /media/stick")]
pub enum HardExampleCommand {
    /// Tell which are kept here, the oldest first.
    List {
        /// Only those of this pipeline.
        #[arg(long, value_name = "NAME")]
        pipeline: Option<PipelineName>,
        /// For people or for programs.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
        output: OutputFormat,
    },
    /// Copy them, checked, with what is known about each.
    Export {
        /// Where to.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Only those of this pipeline.
        #[arg(long, value_name = "NAME")]
        pipeline: Option<PipelineName>,
    },
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Before the first `=`.
    pub key: String,
    /// After it.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => Err("write it as key=value, for example line=1".to_owned()),
        }
    }
}

/// As [`duration`], and not nothing.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("that would end at once: give a time, for example 30m".to_owned()),
        length => Ok(length),
    }
}

/// Reads `90`, `90s`, `5m`, `1h` or `1500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a time: write 30s, 5m or 1500ms"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        unit => Err(format!(
            "`{unit}` is not a unit of time here: use ms, s, m or h"
        )),
    }
}
