//! Where requests are taken besides the HTTP endpoint: the gRPC port and the Unix socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// Port of gRPC when nobody says otherwise.
pub const GRPC_PORT: u16 = 8081;

/// Mode of the Unix socket when nobody says otherwise: the agent's user and group.
pub const SOCKET_MODE: u32 = 0o660;

/// Where else requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Address of the gRPC endpoint; `None`: only on the other sockets.
    pub grpc: Option<SocketAddr>,
    /// The Unix socket.
    pub socket: Listen<PathBuf>,
    /// Mode of its file.
    pub socket_mode: u32,
}

/// Whether and where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listen<T> {
    /// Where it usually is.
    #[default]
    Usual,
    /// Nowhere.
    Off,
    /// There.
    At(T),
}

impl FromStr for Listen<SocketAddr> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| {
                format!(
                    "`{text}` is no address: write ADDRESS:PORT, for example 127.0.0.1:8081, or off"
                )
            }),
        }
    }
}

impl FromStr for Listen<PathBuf> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text if text.starts_with('/') => Ok(Self::At(text.into())),
            text => Err(format!(
                "`{text}` is no absolute path: write /DIR/FILE, or off"
            )),
        }
    }
}

impl<'de, T> Deserialize<'de> for Listen<T>
where
    Self: FromStr<Err = String>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The Unix socket, as in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SocketSetting {
    /// An absolute path, or `off`. Default: `infer.sock` in the data directory, where there is one.
    #[serde(default)]
    pub path: Listen<PathBuf>,
    /// Who may use it, as for chmod: `"0660"` (the default) for the agent's user and group, `"0666"` for every user of this
    /// machine.
    pub mode: Option<String>,
}

/// Puts flags over the file over defaults. gRPC is on [`GRPC_PORT`] of this machine, or on any free port where HTTP is.
pub(super) fn endpoints(
    http: SocketAddr,
    grpc: Option<Listen<SocketAddr>>,
    (flag, file): (Option<Listen<PathBuf>>, SocketSetting),
) -> Result<Endpoints, ConfigError> {
    let usual_port = if http.port() == 0 { 0 } else { GRPC_PORT };
    let socket_mode = match &file.mode {
        None => SOCKET_MODE,
        Some(text) => mode(text).ok_or_else(|| ConfigError::Value {
            field: "socket.mode",
            problem: format!("is `{text}`; expected an octal mode in quotes such as \"0660\""),
        })?,
    };
    Ok(Endpoints {
        grpc: match grpc.unwrap_or_default() {
            Listen::Usual => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), usual_port)),
            Listen::Off => None,
            Listen::At(address) => Some(address),
        },
        socket: flag.unwrap_or(file.path),
        socket_mode,
    })
}

fn mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
}
