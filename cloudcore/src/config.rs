//! The configuration of `cloudcore serve`, read once.
//!
//! Four layers, the later wins: defaults, `cloudcore.toml`, environment (`CLOUDCORE_DATA_DIR` for
//! `data_dir`), flags. A key nobody knows is refused, with the nearest known one. Everything here is
//! a plain value; opening files and sockets is up to those who need them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pki::Lifetime;
use crate::spelling::nearest;

/// Read from the working directory when `--config` is not given and it exists.
const FILE_DEFAULT: &str = "cloudcore.toml";

/// Environment variables with this prefix are keys of the configuration.
const ENV_PREFIX: &str = "CLOUDCORE_";

/// Everything `cloudcore serve` can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Directory of the store, the certificate authority and the blobs. Default: `cloudcore-data`
    /// in the working directory.
    pub(crate) data_dir: PathBuf,
    /// HTTPS: REST, OpenAPI, enrollment. Default: `0.0.0.0:8443`. Port 0 takes a free one.
    pub(crate) api_address: SocketAddr,
    /// Agents over WebSocket (TCP, mutual TLS). Default: `0.0.0.0:10000`.
    pub(crate) websocket_address: SocketAddr,
    /// Agents over QUIC (UDP, mutual TLS). Default: `0.0.0.0:10002`.
    pub(crate) quic_address: SocketAddr,
    /// Prometheus metrics and health, plain HTTP. Default: `127.0.0.1:9464`.
    pub(crate) metrics_address: SocketAddr,
    /// Names and addresses people reach this server by, for its certificate. Default: none;
    /// `localhost`, `127.0.0.1` and `::1` are always in it.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) public_names: Vec<String>,
    /// Host that enrolled agents are told to dial. Default: none, which means the host the agent
    /// enrolled at.
    pub(crate) advertise_host: Option<String>,
    /// Seconds of one summary window on every node. Default: 0, which leaves it to each node.
    pub(crate) summary_window_seconds: u32,
    /// How long certificates of nodes are good, `5s` to `365d`; nodes renew at two thirds. Default: `30d`.
    pub(crate) node_certificate_lifetime: Lifetime,
    /// How log lines look: `text` or `json`. Default: `text`.
    pub(crate) log_format: LogFormat,
    /// What is logged, as `tracing` filter directives. Default: `info`.
    pub(crate) log: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The flags of `cloudcore serve`. What is not given comes from the other layers.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub(crate) struct ServeFlags {
    /// Configuration file [env: CLOUDCORE_CONFIG] [default: cloudcore.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Directory of the store, the certificate authority and the blobs [default: cloudcore-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// HTTPS: REST, OpenAPI, enrollment [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_address: Option<SocketAddr>,
    /// Agents over WebSocket, TCP [default: 0.0.0.0:10000]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket_address: Option<SocketAddr>,
    /// Agents over QUIC, UDP [default: 0.0.0.0:10002]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    quic_address: Option<SocketAddr>,
    /// Prometheus metrics and health, plain HTTP [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_address: Option<SocketAddr>,
    /// A name or address people reach this server by; may be repeated
    #[arg(long = "public-name", value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    public_names: Vec<String>,
    /// Host that enrolled agents are told to dial [default: the host they enrolled at]
    #[arg(long, value_name = "HOST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    advertise_host: Option<String>,
    /// Seconds of one summary window on every node; 0: each node's own setting [default: 0]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_window_seconds: Option<u32>,
    /// How long certificates of nodes are good, 5s to 365d; nodes renew at two thirds [default: 30d]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    node_certificate_lifetime: Option<Lifetime>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
    /// What is logged, for example `info,cloudcore::hub=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// Why the configuration was refused.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// `--config` names a file that is not there.
    #[error("the configuration file {0} does not exist: correct --config or leave it out")]
    NoFile(PathBuf),
    /// A key nobody knows.
    #[error("unknown key `{key}` in {origin}: {hint}")]
    UnknownKey {
        /// As written.
        key: String,
        /// The file or the environment.
        origin: String,
        /// The nearest key, or all.
        hint: String,
    },
    /// A value that does not fit its key.
    #[error("the configuration is not right: {0}")]
    Value(String),
}

impl Default for Config {
    fn default() -> Self {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            data_dir: PathBuf::from("cloudcore-data"),
            api_address: any(8443),
            websocket_address: any(10_000),
            quic_address: any(10_002),
            metrics_address: SocketAddr::from(([127, 0, 0, 1], 9464)),
            public_names: Vec::new(),
            advertise_host: None,
            summary_window_seconds: 0,
            node_certificate_lifetime: Lifetime::default(),
            log_format: LogFormat::Text,
            log: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// When a layer holds an unknown key or a value that does not fit, with its origin.
    pub(crate) fn read(flags: &ServeFlags) -> Result<Self, ConfigError> {
        let env = Env::prefixed(ENV_PREFIX);
        let from_env = Env::var(&format!("{ENV_PREFIX}CONFIG")).map(PathBuf::from);
        let named = flags.config.clone().or(from_env);
        if let Some(file) = named.as_ref().filter(|file| !file.is_file()) {
            return Err(ConfigError::NoFile(file.clone()));
        }
        let file = named.or_else(|| {
            let default = PathBuf::from(FILE_DEFAULT);
            default.is_file().then_some(default)
        });
        let layers = Figment::from(Serialized::defaults(Self::default()));
        let layers = match file {
            Some(file) => layers.merge(Toml::file_exact(file)),
            None => layers,
        };
        layers
            .merge(env.ignore(&["config"]))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|fault| ConfigError::from_figment(&fault))
    }
}

impl ConfigError {
    fn from_figment(fault: &figment::Error) -> Self {
        let source = fault.metadata.as_ref();
        let origin = source.map_or_else(
            || "the configuration".to_owned(),
            |metadata| match &metadata.source {
                Some(source) => source.to_string(),
                None => metadata.name.to_string(),
            },
        );
        match &fault.kind {
            figment::error::Kind::UnknownField(key, known) => {
                let hint = match nearest(key, known.iter().copied()) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("known are {}", known.join(", ")),
                };
                Self::UnknownKey {
                    key: key.clone(),
                    origin,
                    hint,
                }
            }
            _ => Self::Value(fault.to_string()),
        }
    }
}

/// A list, or one text with commas, as an environment variable has it.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        OneOrMany::Many(names) => names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloudcore.toml");
        std::fs::write(&path, file).unwrap();
        Config::read(&ServeFlags {
            config: Some(path),
            api_address: Some("127.0.0.1:0".parse().unwrap()),
            ..ServeFlags::default()
        })
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let config = read("api_address = '0.0.0.0:1'\nquic_address = '0.0.0.0:2'").unwrap();
        assert_eq!(config.api_address.to_string(), "127.0.0.1:0");
        assert_eq!(config.quic_address.to_string(), "0.0.0.0:2");
        assert_eq!(config.websocket_address.to_string(), "0.0.0.0:10000");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_file_and_the_nearest_key() {
        let message = read("data_dri = 'x'").unwrap_err().to_string();
        assert!(
            message.starts_with("unknown key `data_dri` in "),
            "{message}"
        );
        assert!(message.contains("cloudcore.toml"), "{message}");
        assert!(message.ends_with("did you mean `data_dir`?"), "{message}");
    }

    #[test]
    fn public_names_may_be_one_text_with_commas() {
        let config = read("public_names = 'fleet.example.com, 10.0.0.7'").unwrap();
        assert_eq!(config.public_names, ["fleet.example.com", "10.0.0.7"]);
    }

    #[test]
    fn a_config_file_that_is_not_there_is_an_error() {
        let flags = ServeFlags {
            config: Some("/nonexistent.toml".into()),
            ..ServeFlags::default()
        };
        assert!(matches!(Config::read(&flags), Err(ConfigError::NoFile(_))));
    }
}
