//! Where results go.

use serde::{Deserialize, Serialize};

use crate::{Broker, MqttTls};

/// Where results go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sink {
    /// A topic of an MQTT broker.
    Mqtt(MqttSink),
    /// A request to a web server.
    Webhook(Webhook),
    /// Inputs the model found hard, kept on disk.
    HardExamples(HardExamples),
}

/// A topic of an MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttSink {
    /// Topic of the results.
    pub topic: String,
    /// Topic of the pictures with boxes (JPEG). Default: they are not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_topic: Option<String>,
    /// Which results are sent. Default `always`.
    #[serde(default)]
    pub when: When,
    /// Another broker than the source's. Default: the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// With `broker`: who this client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With `broker`: file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// With `broker` and `mqtts://`: how the broker proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<MqttTls>,
}

/// A request to a web server: `POST` with the result as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// Which results are sent. Default `always`.
    #[serde(default)]
    pub when: When,
    /// File with a token, sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// With `https://`: file (PEM) with the certificates the server's own must come from. Default: those of this
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Longest wait for an answer, 100 to 60000. Default 5000.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u32,
    /// How often a request that failed is tried again, 0 to 10. Default 3.
    #[serde(default = "retries")]
    pub retries: u32,
}

/// Which results are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Every one, failures too.
    #[default]
    Always,
    /// Those with an anomaly.
    Anomaly,
    /// Those with at least one box.
    Detection,
    /// Those of inputs that were not answered.
    Failure,
}

/// Inputs the model found hard, kept on disk until somebody asks for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HardExamples {
    /// Answers with less confidence than this are hard. Default: none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_below: Option<f64>,
    /// Inputs on which the pipeline's shadow says something else are kept. Default true.
    pub disagreement: bool,
    /// Inputs that come while the model's inputs or outputs drift from the profile of its package are kept. Default true.
    pub drift: bool,
    /// Mebibytes on disk; the oldest give way. 1 to 65536. Default 256.
    pub quota_mib: u32,
    /// Most that are kept in a minute, to spare the flash. 1 to 600. Default 12.
    pub per_minute: u32,
}

const fn timeout_ms() -> u32 {
    5000
}

const fn retries() -> u32 {
    3
}

impl Default for HardExamples {
    fn default() -> Self {
        Self {
            confidence_below: None,
            disagreement: true,
            drift: true,
            quota_mib: 256,
            per_minute: 12,
        }
    }
}

impl MqttSink {
    /// Its own broker and who we are there; `None`: the source's.
    #[must_use]
    pub fn own_broker(&self) -> Option<Broker<'_>> {
        Some(Broker {
            broker: self.broker.as_deref()?,
            username: self.username.as_deref(),
            password_file: self.password_file.as_deref(),
            tls: self.tls.as_ref(),
        })
    }
}
