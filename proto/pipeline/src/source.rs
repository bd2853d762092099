//! Where inputs come from.

use serde::{Deserialize, Serialize};

use crate::Payload;

/// Where inputs come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Topics of an MQTT broker.
    Mqtt(MqttSource),
    /// A network camera over HTTP.
    Camera(Camera),
    /// A camera of this machine (V4L2).
    Video(Video),
    /// Files that appear in a directory.
    Directory(Directory),
    /// `POST /pipelines/<name>/push` on the agent's own port.
    Push(Push),
}

/// Topics of an MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttSource {
    /// For example `mqtt://127.0.0.1:1883`, or `mqtts://` for TLS.
    pub broker: String,
    /// Name of this client at the broker, which keeps unacknowledged messages under it.
    /// Default: `edge-agent-`, the node's name and the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Who this client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// With `mqtts://`: how the broker proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<MqttTls>,
    /// What is taken.
    pub topics: Vec<Topic>,
    /// What a message holds, for topics that do not say it. Default `message`.
    #[serde(default = "message")]
    pub payload: Payload,
    /// What the broker promises. Default 1: a message is acknowledged once its result is on the way.
    #[serde(default)]
    pub qos: Qos,
    /// Rows of several topics become one by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
}

/// A broker and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker<'a> {
    /// Its address.
    pub broker: &'a str,
    /// Who we are.
    pub username: Option<&'a str>,
    /// File with the password.
    pub password_file: Option<&'a str>,
    /// How it proves who it is.
    pub tls: Option<&'a MqttTls>,
}

/// How a broker proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttTls {
    /// File (PEM) with the certificates its own must come from. Default: those of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topic {
    /// A topic, or a filter such as `line1/+/state` or `line1/#`.
    pub topic: String,
    /// What a message holds. Default: what the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

/// What the broker promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Qos {
    /// At most once: what cannot be taken at once is lost.
    AtMostOnce,
    /// At least once.
    #[default]
    AtLeastOnce,
}

/// How rows of several topics become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// Rows whose times differ by no more than this are one.
    pub tolerance_ms: u32,
    /// How long a row waits for values that are missing, from the arrival of its first. Default 200.
    #[serde(default = "wait_ms")]
    pub wait_ms: u32,
    /// A value that is still missing is the last one known, if that is no older than this.
    /// Default 0: a row with a missing value is dropped.
    #[serde(default)]
    pub hold_last_ms: u32,
    /// Which time counts. Default: `timestamp`.
    #[serde(default)]
    pub order: TimeOrder,
}

/// Which time of a row counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeOrder {
    /// The one the message says.
    #[default]
    Timestamp,
    /// When it arrived.
    Arrival,
}

/// A network camera over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Camera {
    /// An MJPEG stream, or with `snapshotEveryMs` a single picture.
    pub url: String,
    /// Fetch a picture this often instead of reading a stream, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_every_ms: Option<u32>,
    /// Who we are (HTTP Basic).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// With `https://`: file (PEM) with the certificates the camera's own must come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// A stream that brings no picture for this long is opened anew. Default 10000.
    #[serde(default = "silence_ms")]
    pub silence_ms_max: u32,
}

/// A camera of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Video {
    /// For example `/dev/video0`.
    pub device: String,
    /// Width of its pictures.
    pub width: u32,
    /// Height of its pictures.
    pub height: u32,
}

/// Files that appear in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directory {
    /// Where they appear.
    pub path: String,
    /// Endings of the names that are taken, without the dot. Default: every name that does not begin with a dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// What a file holds. Default `image`.
    #[serde(default = "image")]
    pub payload: Payload,
    /// What becomes of a file that was answered. Default: moved to `done` in the same directory.
    #[serde(default)]
    pub done: Done,
    /// A file is read once its size and time have not changed for this long. Default 1000.
    #[serde(default = "settle_ms")]
    pub settle_ms: u32,
}

/// What becomes of a file that was answered. One that was not is moved to `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Done {
    /// It is deleted.
    Delete,
    /// It is moved to this directory, below the watched one or absolute, of the same file system.
    Move(String),
}

/// Requests to the agent's own port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Push {
    /// What a request holds. Default `message`.
    #[serde(default = "message")]
    pub payload: Payload,
}

const fn message() -> Payload {
    Payload::Message
}

const fn image() -> Payload {
    Payload::Image
}

const fn wait_ms() -> u32 {
    200
}

const fn silence_ms() -> u32 {
    10_000
}

const fn settle_ms() -> u32 {
    1000
}

impl Default for Done {
    fn default() -> Self {
        Self::Move("done".to_owned())
    }
}

impl TryFrom<u8> for Qos {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            other => Err(format!(
                "qos is {other}; write 1 (every message, perhaps twice) or 0 (perhaps lost)"
            )),
        }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
        }
    }
}

impl MqttSource {
    /// What a message of `topic` holds.
    #[must_use]
    pub fn payload_of<'a>(&'a self, topic: &'a Topic) -> &'a Payload {
        topic.payload.as_ref().unwrap_or(&self.payload)
    }

    /// The broker and who we are there.
    #[must_use]
    pub fn broker(&self) -> Broker<'_> {
        Broker {
            broker: &self.broker,
            username: self.username.as_deref(),
            password_file: self.password_file.as_deref(),
            tls: self.tls.as_ref(),
        }
    }
}

impl Source {
    /// What its messages hold, one entry per topic where there are topics.
    #[must_use]
    pub fn payloads(&self) -> Vec<&Payload> {
        match self {
            Self::Mqtt(mqtt) => mqtt.topics.iter().map(|t| mqtt.payload_of(t)).collect(),
            Self::Camera(_) | Self::Video(_) => vec![&Payload::Image],
            Self::Directory(directory) => vec![&directory.payload],
            Self::Push(push) => vec![&push.payload],
        }
    }

    /// Names of the values of its rows in the order in which they are declared, none twice.
    #[must_use]
    pub fn row_fields(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.payloads().into_iter().filter_map(Payload::row_fields) {
            for name in name {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}
