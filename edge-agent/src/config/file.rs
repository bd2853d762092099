//! `edge-agent.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use edge_core::link::Probing;
use millwright_package::Provider;
use millwright_pipeline::{
    ApiVersion, BackPressure, Kind, Metadata, MqttSink, Payload, Pipeline, PipelineError, Qos,
    Sink, Source, Spec, Topic, When,
};
use serde::Deserialize;

use super::{ConfigError, Listen, SocketSetting};
use crate::camera_page::token::PageToken;
use crate::connect::ProxySetting;
use crate::worker::sandbox::Strictness;

/// The configuration file. Every key is optional, unknown ones are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the agent keeps keys, models and unsent summaries. Default `/var/lib/millwright`.
    pub data_dir: Option<PathBuf>,
    /// `address:port` of the local HTTP endpoint. Default `127.0.0.1:8080`.
    pub http: Option<SocketAddr>,
    /// `address:port` of the gRPC endpoint, or `off`. Default `127.0.0.1:8081`.
    pub grpc: Option<Listen<SocketAddr>>,
    /// The Unix socket that takes both protocols.
    pub socket: Option<SocketSetting>,
    /// Path of `libonnxruntime.so`. Default: looked for in the usual places.
    pub onnxruntime: Option<PathBuf>,
    /// Length of a summary window in seconds, 1 to 3600. Default: what the cloud says, else 60.
    pub summary_window_seconds: Option<u64>,
    /// Addresses to dial instead of those from enrollment.
    #[serde(default)]
    pub cloud: Cloud,
    /// An MQTT broker to take inputs from: a short form of pipelines with one topic each.
    pub mqtt: Option<Mqtt>,
    /// Files with pipelines, or directories of such files; relative to this file. Default: none.
    #[serde(default)]
    pub pipelines: Vec<PathBuf>,
    /// How much disk unsent summaries and events may use.
    #[serde(default)]
    pub storage: Storage,
    /// The page that shows what pipelines see.
    #[serde(default)]
    pub page: Page,
    /// How models run.
    #[serde(default)]
    pub worker: WorkerSection,
}

/// The page that shows what pipelines see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Page {
    /// What people from other machines have to know to see it, 16 to 256 characters. People at this machine need
    /// none. Default: the first line of `page-token` in the data directory, which is made when `http` can be reached
    /// from outside.
    pub token: Option<PageToken>,
}

/// How models run: one process for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerSection {
    /// `required` refuses to open a model where the kernel cannot confine its process completely; `best-effort`
    /// opens it and says what is missing. Default `best-effort`.
    #[serde(default)]
    pub sandbox: Strictness,
    /// What models may be computed with, best first: `tensorrt`, `cuda`, `openvino`, `acl`, `xnnpack`, `cpu`, which is
    /// always tried last. Default: what the manifest of each model prefers.
    #[serde(default)]
    pub providers: Vec<Provider>,
    /// Mebibytes all workers together may use, 64 or more. Default: seven eighths of what the machine or the
    /// container has.
    pub memory_mib: Option<u64>,
}

/// How much disk unsent summaries and events may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// Mebibytes on disk, 8 or more. When they are used up, old summaries are merged to coarser ones. Default 64.
    pub quota_mib: Option<u64>,
    /// Mebibytes that may be written in a day, 1 or more, to spare the flash. Over budget, summary windows are ten
    /// times longer until midnight (UTC). Default: no budget.
    pub written_mib_per_day: Option<u64>,
}

/// Where cloudcore is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cloud {
    /// `host:port` for QUIC (UDP).
    pub quic: Option<String>,
    /// `host:port` for WebSocket (TCP).
    pub websocket: Option<String>,
    /// `host:port` of the HTTPS endpoint, where certificates are renewed (TCP).
    pub api: Option<String>,
    /// Which transports are used at all. Default `any`: QUIC first, WebSocket where UDP is blocked.
    #[serde(default)]
    pub transport: Transports,
    /// HTTP proxy for everything over TCP (WebSocket, enrollment, renewal), `http://user:password@host:port`, or `direct` to ignore the environment.
    /// Default: HTTPS_PROXY, unless NO_PROXY names the host. QUIC never goes through a proxy.
    pub proxy: Option<ProxySetting>,
    /// Whether pipelines of the cloud run here. Default `allowed`: they may name files below `secrets` in the data
    /// directory, and directories below `pipelineDirectories`.
    #[serde(default)]
    pub pipelines: Permission,
    /// Directories that pipelines of the cloud may read, empty and fill. Default: none.
    #[serde(default)]
    pub pipeline_directories: Vec<PathBuf>,
    /// Whether operators of the cloud may list and fetch hard examples of this node. Default `denied`.
    pub hard_examples: Option<Permission>,
    /// How often QUIC is tried while WebSocket carries the session.
    #[serde(default)]
    pub probe_quic: ProbeQuic,
}

impl Cloud {
    /// Pictures leave the box only when its owner says so.
    #[must_use]
    pub fn hard_examples_permission(&self) -> Permission {
        self.hard_examples.unwrap_or(Permission::Denied)
    }
}

/// What the owner of the box lets the cloud do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// It may.
    #[default]
    Allowed,
    /// It may not, and is told so.
    Denied,
}

/// Which transports are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transports {
    /// Both.
    #[default]
    Any,
    /// QUIC over UDP only.
    Quic,
    /// WebSocket over TCP only: where UDP is known to be blocked, or must not be used.
    Websocket,
}

/// Pauses between probes, in seconds, 1 to 86400. A probe costs one handshake, some 5 KB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeQuic {
    /// From the beginning of a session to the first one; doubles per silent probe. Default 60.
    pub first_seconds: Option<u64>,
    /// The longest. Default 1800.
    pub longest_seconds: Option<u64>,
}

/// Bounds of [`ProbeQuic`].
const PROBE_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

impl ProbeQuic {
    /// # Errors
    /// When a pause is outside its bounds.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, seconds) in [
            ("cloud.probeQuic.firstSeconds", self.first_seconds),
            ("cloud.probeQuic.longestSeconds", self.longest_seconds),
        ] {
            if let Some(seconds) = seconds.filter(|seconds| !PROBE_SECONDS.contains(seconds)) {
                let problem = format!("is {seconds}; it must be between 1 and 86400");
                return Err(ConfigError::Value { field, problem });
            }
        }
        Ok(())
    }

    /// With the defaults where nothing is said.
    #[must_use]
    pub fn resolved(&self) -> Probing {
        let default = Probing::default();
        let first_ms = self.first_seconds.map_or(default.first_ms, |s| s * 1_000);
        let longest_ms = self
            .longest_seconds
            .map_or(default.longest_ms, |s| s * 1_000);
        Probing {
            first_ms,
            longest_ms: longest_ms.max(first_ms),
        }
    }
}

/// An MQTT broker and what is taken from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mqtt {
    /// For example `mqtt://127.0.0.1:1883`.
    pub broker: String,
    /// Name of this client at the broker. Default: `edge-agent-` and the node's name.
    pub client_id: Option<String>,
    /// One entry per topic.
    pub sources: Vec<MqttSource>,
}

/// One topic whose messages are given to a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttSource {
    /// Where inputs come from.
    pub topic: String,
    /// The model that gets them.
    pub model: millwright_proto::ids::ModelName,
    /// Where results go.
    pub result_topic: String,
}

impl Mqtt {
    /// One pipeline per topic: `mqtt-1`, `mqtt-2` and so on.
    ///
    /// # Errors
    /// When the broker's address, the client id or a topic cannot be meant.
    pub fn pipelines(&self, origin: &str) -> Result<Vec<Pipeline>, PipelineError> {
        let sources = self.sources.iter().enumerate();
        sources
            .map(|(at, source)| self.pipeline(at, source).checked(origin))
            .collect()
    }

    fn pipeline(&self, at: usize, source: &MqttSource) -> Pipeline {
        let name = format!("mqtt-{}", at + 1);
        // Each has a connection of its own, and a broker takes a name once.
        let client_id = self.client_id.as_ref().map(|id| match at {
            0 => id.clone(),
            at => format!("{id}-{}", at + 1),
        });
        Pipeline {
            api_version: ApiVersion::V1,
            kind: Kind::Pipeline,
            metadata: Metadata::named(name.parse().expect("letters and a number are a name")),
            spec: Spec {
                selector: None,
                source: Source::Mqtt(millwright_pipeline::MqttSource {
                    broker: self.broker.clone(),
                    client_id,
                    username: None,
                    password_file: None,
                    tls: None,
                    topics: vec![Topic {
                        topic: source.topic.clone(),
                        payload: None,
                    }],
                    payload: Payload::Message,
                    qos: Qos::AtLeastOnce,
                    join: None,
                }),
                preprocess: None,
                model: source.model.clone(),
                shadow: None,
                decode: None,
                sinks: vec![Sink::Mqtt(MqttSink {
                    topic: source.result_topic.clone(),
                    picture_topic: None,
                    when: When::Always,
                    broker: None,
                    username: None,
                    password_file: None,
                    tls: None,
                })],
                back_pressure: BackPressure::default(),
                mask: Vec::new(),
            },
        }
    }
}

impl ConfigFile {
    /// Reads a configuration; `origin` names it in errors.
    ///
    /// # Errors
    /// When it is not YAML or says something unknown.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(Self::default());
        }
        Ok(millwright_document::yaml(text, origin)?)
    }
}
