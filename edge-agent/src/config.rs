//! What the agent is told: flags over environment over `edge-agent.yaml` over defaults, read once.

mod arguments;
mod endpoints;
mod file;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millwright_document::DocumentError;
use millwright_pipeline::{Pipeline, PipelineError, Sink};
use thiserror::Error;

use crate::connect::{Connector, ProxyUrlError};
use crate::pipeline::files::{self, FilesError};
use crate::store::{OutboxLimits, QUOTA_BYTES_MIN};
use crate::worker::WorkerSettings;

pub use arguments::{
    Arguments, Command, EnrollArguments, HardExampleArguments, HardExampleCommand, HoldArguments,
    Label, LogFormat, ModelCommand, ModelDescribeArguments, ModelProbeArguments, NodeArguments,
    OutputFormat, PipelineCheckArguments, PipelineCommand, RunArguments, StatusArguments,
};
use endpoints::endpoints;
pub use endpoints::{Endpoints, GRPC_PORT, Listen, SOCKET_MODE, SocketSetting};
pub use file::{
    Cloud, ConfigFile, Mqtt, MqttSource, Page, Permission, ProbeQuic, Storage, Transports,
    WorkerSection,
};

/// Where the agent keeps its state when nobody says otherwise.
pub const DATA_DIR: &str = "/var/lib/millwright";

/// Where the local HTTP endpoint listens when nobody says otherwise: this machine only.
pub const HTTP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// Length of a summary window when neither the configuration nor the cloud says otherwise.
pub const SUMMARY_WINDOW: Duration = Duration::from_secs(60);

/// Shortest summary window: below it a window costs more than it tells.
pub const SUMMARY_WINDOW_MIN: Duration = Duration::from_secs(1);

/// Longest summary window: a crash loses the open one.
pub const SUMMARY_WINDOW_MAX: Duration = Duration::from_secs(3600);

/// Least memory for all workers: ONNX Runtime with the smallest model takes about half of it.
const WORKER_MIB_MIN: u64 = 64;

/// Sizes in the configuration are in mebibytes.
const MIB: u64 = 1024 * 1024;

/// Why the configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The `mqtt:` section cannot be meant.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Pipelines cannot be read.
    #[error(transparent)]
    Pipelines(#[from] FilesError),
    /// HTTPS_PROXY names no proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyUrlError),
    /// A value cannot be meant.
    #[error("{field} {problem}")]
    Value {
        /// Key in the file or flag.
        field: &'static str,
        /// What is wrong and what it should be.
        problem: String,
    },
}

/// Everything `edge-agent run` is told.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// What to serve, and where state lies.
    pub mode: Mode,
    /// Address of the local HTTP endpoint. Default [`HTTP`]; port 0: any free one.
    pub http: SocketAddr,
    /// Where else requests are taken.
    pub endpoints: Endpoints,
    /// The shared library of ONNX Runtime; `None`: looked for in the usual places.
    pub onnxruntime: Option<PathBuf>,
    /// Length of a summary window; `None`: what the cloud says, else [`SUMMARY_WINDOW`].
    pub summary_window: Option<Duration>,
    /// Addresses to dial instead of those from enrollment.
    pub cloud: Cloud,
    /// How TCP gets out of the plant: `cloud.proxy`, else HTTPS_PROXY and NO_PROXY, else directly.
    pub connector: Connector,
    /// What runs without being asked: `mqtt:`, `pipelines:` and `--pipeline`.
    pub pipelines: Vec<Pipeline>,
    /// How much disk the outbox may use.
    pub storage: OutboxLimits,
    /// Who may see what pipelines see.
    pub page: Page,
    /// How models run.
    pub worker: WorkerConfig,
}

/// How models run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerConfig {
    /// How each worker runs.
    pub settings: WorkerSettings,
    /// Memory all workers together may use; `None`: what the machine has, less what else needs some.
    pub memory_bytes: Option<u64>,
}

/// What to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What the cloud wants.
    Fleet {
        /// Where state lies. Default [`DATA_DIR`].
        data_dir: PathBuf,
    },
    /// One package from a directory, without any cloud.
    Local {
        /// The package.
        package: PathBuf,
        /// Public keys its signature must be by; empty: it is only warned about.
        trust_keys: Vec<PathBuf>,
        /// Where to write `addresses.json`, when wanted.
        data_dir: Option<PathBuf>,
    },
}

/// Where an agent is, for what runs beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it keeps its state. Default [`DATA_DIR`].
    pub data_dir: PathBuf,
    /// How TCP gets out of the plant, as for [`RunConfig::connector`].
    pub connector: Connector,
}

impl RunConfig {
    /// Reads the configuration file that `arguments` names and puts the flags over it.
    ///
    /// # Errors
    /// When the file cannot be read or says something that cannot be meant.
    pub fn resolve(arguments: RunArguments) -> Result<Self, ConfigError> {
        let file = config_file(arguments.config.as_deref())?;
        let beside = arguments.config.as_deref().and_then(Path::parent);
        let listed = file.pipelines.iter().map(|path| match beside {
            Some(directory) => directory.join(path),
            None => path.clone(),
        });
        let listed: Vec<PathBuf> = listed.chain(arguments.pipelines.iter().cloned()).collect();
        let mut config = Self::merge(arguments, file)?;
        config.pipelines.extend(files::read(&listed)?);
        config.check_pipelines()?;
        Ok(config)
    }

    fn check_pipelines(&self) -> Result<(), ConfigError> {
        let mut names = BTreeSet::new();
        for pipeline in &self.pipelines {
            if !names.insert(pipeline.name()) {
                let problem = format!("has two pipelines called `{}`: rename one", pipeline.name());
                let field = "pipelines";
                return Err(ConfigError::Value { field, problem });
            }
            let keeps = |sink: &Sink| matches!(sink, Sink::HardExamples(_));
            let nowhere = matches!(self.mode, Mode::Local { data_dir: None, .. });
            if nowhere && pipeline.spec.sinks.iter().any(keeps) {
                let problem = format!(
                    "is missing: pipeline `{}` keeps hard examples, so say where",
                    pipeline.name()
                );
                let field = "--data-dir";
                return Err(ConfigError::Value { field, problem });
            }
        }
        Ok(())
    }

    fn merge(arguments: RunArguments, file: ConfigFile) -> Result<Self, ConfigError> {
        let data_dir = arguments.data_dir.or(file.data_dir);
        let mode = match arguments.model {
            Some(package) => Mode::Local {
                package,
                trust_keys: arguments.trust_keys,
                data_dir,
            },
            None if !arguments.trust_keys.is_empty() => {
                return Err(ConfigError::Value {
                    field: "--trust-key",
                    problem: "goes with --model; an enrolled node gets its keys from \
                              `edge-agent enroll --trust-key FILE` or the trust/ directory"
                        .to_owned(),
                });
            }
            None => Mode::Fleet {
                data_dir: data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR)),
            },
        };
        let from_file = file.summary_window_seconds.map(Duration::from_secs);
        let summary_window = arguments.summary_window.or(from_file);
        if let Some(window) = summary_window {
            check_window(window)?;
        }
        let pipelines = match &file.mqtt {
            Some(mqtt) => mqtt.pipelines("mqtt:")?,
            None => Vec::new(),
        };
        file.cloud.probe_quic.check()?;
        let http = arguments.http.or(file.http).unwrap_or(HTTP);
        let grpc = arguments.grpc.or(file.grpc);
        let socket = (arguments.socket, file.socket.unwrap_or_default());
        Ok(Self {
            mode,
            http,
            endpoints: endpoints(http, grpc, socket)?,
            onnxruntime: arguments.onnxruntime.or(file.onnxruntime),
            summary_window,
            connector: Connector::configured(file.cloud.proxy.as_ref())?,
            cloud: Cloud {
                quic: arguments.quic.or(file.cloud.quic),
                websocket: arguments.websocket.or(file.cloud.websocket),
                ..file.cloud
            },
            pipelines,
            storage: outbox_limits(file.storage)?,
            page: file.page,
            worker: worker_config(file.worker)?,
        })
    }
}

fn outbox_limits(storage: Storage) -> Result<OutboxLimits, ConfigError> {
    let mut limits = OutboxLimits::default();
    let bytes = |field, mib: u64, bytes_min: u64| {
        let bytes = mib.checked_mul(MIB).filter(|bytes| *bytes >= bytes_min);
        bytes.ok_or_else(|| ConfigError::Value {
            field,
            problem: format!("is {mib}; it must be at least {}", bytes_min / MIB),
        })
    };
    if let Some(mib) = storage.quota_mib {
        limits.quota_bytes = bytes("storage.quotaMib", mib, QUOTA_BYTES_MIN)?;
    }
    if let Some(mib) = storage.written_mib_per_day {
        limits.written_per_day_max_bytes = Some(bytes("storage.writtenMibPerDay", mib, MIB)?);
    }
    Ok(limits)
}

fn worker_config(section: WorkerSection) -> Result<WorkerConfig, ConfigError> {
    let bytes = |mib: u64| {
        let bytes = mib.checked_mul(MIB).filter(|_| mib >= WORKER_MIB_MIN);
        bytes.ok_or_else(|| ConfigError::Value {
            field: "worker.memoryMib",
            problem: format!("is {mib}; it must be at least {WORKER_MIB_MIN}"),
        })
    };
    let memory_bytes = section.memory_mib.map(bytes).transpose()?;
    Ok(WorkerConfig {
        memory_bytes,
        settings: WorkerSettings {
            sandbox: section.sandbox,
            providers: section.providers,
            memory_bytes,
        },
    })
}

impl NodeArguments {
    /// Where the agent keeps its state.
    ///
    /// # Errors
    /// When the configuration file cannot be used.
    pub fn data_dir(self) -> Result<PathBuf, ConfigError> {
        Ok(self.place()?.data_dir)
    }

    /// Where the agent keeps its state, and how TCP gets from there to the cloud.
    ///
    /// # Errors
    /// When the configuration file cannot be used.
    pub fn place(self) -> Result<Place, ConfigError> {
        let arguments = RunArguments {
            config: self.config,
            data_dir: self.data_dir,
            ..RunArguments::default()
        };
        let file = config_file(arguments.config.as_deref())?;
        let config = RunConfig::merge(arguments, file)?;
        let data_dir = match config.mode {
            Mode::Fleet { data_dir } => data_dir,
            Mode::Local { data_dir, .. } => data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR)),
        };
        Ok(Place {
            data_dir,
            connector: config.connector,
        })
    }
}

fn check_window(window: Duration) -> Result<(), ConfigError> {
    if (SUMMARY_WINDOW_MIN..=SUMMARY_WINDOW_MAX).contains(&window) {
        return Ok(());
    }
    Err(ConfigError::Value {
        field: "summaryWindowSeconds (--summary-window)",
        problem: format!("is {window:?}; it must be between 1s and 1h"),
    })
}

fn config_file(path: Option<&Path>) -> Result<ConfigFile, ConfigError> {
    match path {
        None => Ok(ConfigFile::default()),
        Some(path) => ConfigFile::parse(&read(path)?, &path.display().to_string()),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
