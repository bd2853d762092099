//! Where the broker is, under which name, and what is taken from it.

use std::fmt;
use std::str::FromStr;

use millwright_proto::ids::ModelName;
use rumqttc::MqttOptions;
use thiserror::Error;

/// A broker and what is taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// Where the broker is.
    pub broker: BrokerAddress,
    /// Name of this client at the broker; the broker keeps unacknowledged messages under it.
    pub client_id: ClientId,
    /// What is taken. The first whose topic matches gets a message.
    pub sources: Vec<MqttSource>,
}

/// One topic whose messages are given to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttSource {
    /// Topic or filter (`line1/+`).
    pub topic: String,
    /// The model that gets the messages.
    pub model: ModelName,
    /// Topic of the results.
    pub result_topic: String,
}

/// `mqtt://host:port`; the port is 1883 if left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    host: String,
    port: u16,
}

/// A name that a broker accepts for a session that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(String);

/// Why the configuration of a broker cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MqttConfigError {
    /// Another scheme.
    #[error(
        "broker `{0}` must begin with mqtt:// (TLS and passwords are not supported yet), for example mqtt://127.0.0.1:1883"
    )]
    Scheme(String),
    /// No host or a port that is no number.
    #[error("broker `{0}` must be mqtt://<host> or mqtt://<host>:<port>")]
    Address(String),
    /// An empty or overlong client id.
    #[error("client id `{0}` must have 1 to 128 characters and not begin with a space")]
    ClientId(String),
}

impl FromStr for BrokerAddress {
    type Err = MqttConfigError;

    fn from_str(text: &str) -> Result<Self, MqttConfigError> {
        let rest = text
            .strip_prefix("mqtt://")
            .filter(|rest| !rest.contains('@'));
        let rest = rest.ok_or_else(|| MqttConfigError::Scheme(text.to_owned()))?;
        let rest = rest.trim_end_matches('/');
        let malformed = || MqttConfigError::Address(text.to_owned());
        // The last colon is the port's, unless it is inside the brackets of an IPv6 address.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| malformed())?)
            }
            Some(_) | None => (rest, 1883),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('/') {
            return Err(malformed());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl FromStr for ClientId {
    type Err = MqttConfigError;

    fn from_str(text: &str) -> Result<Self, MqttConfigError> {
        if text.is_empty() || text.len() > 128 || text.starts_with(' ') {
            return Err(MqttConfigError::ClientId(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl MqttConfig {
    /// A client of this broker under this name, everything else by default.
    pub(super) fn options(&self) -> MqttOptions {
        MqttOptions::new(&self.client_id.0, &self.broker.host, self.broker.port)
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_address(text: &str, expected: Option<&str>) {
        let parsed = text
            .parse::<BrokerAddress>()
            .ok()
            .map(|address| address.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }

    #[test]
    fn broker_addresses_are_host_and_port() {
        check_address("mqtt://10.0.0.5:1884", Some("mqtt://10.0.0.5:1884"));
        check_address("mqtt://broker/", Some("mqtt://broker:1883"));
        check_address("mqtt://[::1]:1884", Some("mqtt://::1:1884"));
        check_address("mqtt://[::1]", Some("mqtt://::1:1883"));
        for bad in [
            "broker:1883",
            "mqtts://broker",
            "mqtt://user:secret@broker",
            "mqtt://",
            "mqtt://b:port",
        ] {
            check_address(bad, None);
        }
    }
}
