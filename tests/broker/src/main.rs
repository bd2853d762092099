//! An MQTT broker on one loopback address, for a demo on a machine where mosquitto may not be installed.
//!
//! Usage: `millwright-broker 127.0.0.1:PORT`

use std::net::SocketAddr;

use anyhow::{Context, Result};
use rumqttd::{Broker, Config};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("usage: millwright-broker ADDRESS:PORT")?;
    let address: SocketAddr = address.parse().context("reading the address to listen on")?;
    let config: Config = serde_json::from_value(serde_json::json!({
        "id": 0,
        "router": {
            // A demo has a handful of clients with a few messages under way.
            "max_connections": 16, "max_outgoing_packet_count": 200,
            "max_segment_size": 1_048_576, "max_segment_count": 4,
        },
        "v4": {"1": {
            "name": "demo", "listen": address, "next_connection_delay_ms": 1,
            "connections": {
                "connection_timeout_ms": 10_000, "max_payload_size": 1_048_576,
                "max_inflight_count": 100, "dynamic_filters": true,
            },
        }},
    }))
    .context("building the broker's configuration")?;
    Broker::new(config).start().context("running the broker")
}
