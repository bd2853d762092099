//! The stored form of a window; `proto/window.proto` documents it.

mod enums;
mod model;
mod packed;

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;

use super::{LinkStats, Window, WindowTime};
use crate::sum::Sum;
use crate::{COUNT_MAX, Gauge, gauge, wire};

/// Largest stored window. A model version takes at most 6 sketches of 2 signs of 1024 buckets, in
/// practice 200 to 400 bytes for all; 256 KiB hold several hundred of them and fit a frame.
pub const WINDOW_BYTES_MAX: usize = 256 * 1024;

/// Longest name of a model, version or gauge in a stored window, in bytes: a version has up to 64.
const NAME_BYTES_MAX: usize = 64;

/// Gauges by their number in the stored form, which keeps the usual names out of every window.
const KNOWN_GAUGES: [(wire::GaugeName, &str); 11] = [
    (wire::GaugeName::CpuPercent, gauge::CPU_PERCENT),
    (wire::GaugeName::MemoryUsedBytes, gauge::MEMORY_USED_BYTES),
    (wire::GaugeName::MemoryTotalBytes, gauge::MEMORY_TOTAL_BYTES),
    (wire::GaugeName::DiskUsedBytes, gauge::DISK_USED_BYTES),
    (wire::GaugeName::DiskTotalBytes, gauge::DISK_TOTAL_BYTES),
    (
        wire::GaugeName::TemperatureCelsius,
        gauge::TEMPERATURE_CELSIUS,
    ),
    (wire::GaugeName::AgentMemoryBytes, gauge::AGENT_MEMORY_BYTES),
    (
        wire::GaugeName::OutboxWrittenBytes,
        gauge::OUTBOX_WRITTEN_BYTES,
    ),
    (
        wire::GaugeName::AcceleratorPercent,
        gauge::ACCELERATOR_PERCENT,
    ),
    (
        wire::GaugeName::AcceleratorCelsius,
        gauge::ACCELERATOR_CELSIUS,
    ),
    (
        wire::GaugeName::AcceleratorMemoryUsedBytes,
        gauge::ACCELERATOR_MEMORY_USED_BYTES,
    ),
];

/// Why bytes are not a window.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Longer than [`WINDOW_BYTES_MAX`].
    #[error("window of {0} bytes is over the limit of {WINDOW_BYTES_MAX}")]
    TooLong(usize),
    /// Not the stored form.
    #[error("window does not decode as protobuf")]
    Malformed(#[from] prost::DecodeError),
    /// The boot id has another length.
    #[error("window has a boot id of {0} bytes; expected 16")]
    Boot(usize),
    /// A name is empty, too long or stands twice.
    #[error("window has a {what} whose name is empty, over {NAME_BYTES_MAX} bytes, or there twice")]
    Name {
        /// What is named so.
        what: &'static str,
    },
    /// A counter is out of range.
    #[error("window has a count of {0}, over {COUNT_MAX}")]
    Count(u64),
    /// A sketch is not one.
    #[error("window has a broken {which} sketch: {why}")]
    Sketch {
        /// Which sketch.
        which: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Counts of a model are not what they say.
    #[error("window has broken {0} counts")]
    Counts(&'static str),
    /// A gauge is not one.
    #[error("window has a gauge with a count of 0, or extremes that are not finite or swapped")]
    Gauge,
}

impl Window {
    /// The stored form. Equal windows have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let time = &self.time;
        wire::Window {
            boot: time.boot.to_vec(),
            monotonic_start_ms: time.monotonic_start_ms,
            length_ms: time.length_ms,
            coverage_ms: time.coverage_ms,
            wall_start_ms: time.wall_start_ms,
            clock: wire::ClockQuality::from(time.clock).into(),
            interrupted: time.interrupted,
            merged: time.windows.saturating_sub(1),
            models: self.models.iter().map(model::to_wire).collect(),
            gauges: self.node.iter().filter_map(gauge_to_wire).collect(),
            link: Some(link_to_wire(&self.link)),
        }
        .encode_to_vec()
    }

    /// Reads the stored form. Fields and enum values of newer programs are tolerated.
    ///
    /// # Errors
    /// When the bytes are not a window, or one that no agent can have measured.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > WINDOW_BYTES_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let wire = wire::Window::decode(bytes)?;
        let mut models = BTreeMap::new();
        for model in &wire.models {
            let (label, stats) = model::from_wire(model)?;
            if models.insert(label, stats).is_some() {
                return Err(DecodeError::Name { what: "model" });
            }
        }
        let mut node = BTreeMap::new();
        for gauge in &wire.gauges {
            if let Some((name, gauge)) = gauge_from_wire(gauge)?
                && node.insert(name, gauge).is_some()
            {
                return Err(DecodeError::Name { what: "gauge" });
            }
        }
        Ok(Self {
            time: time_from_wire(&wire)?,
            models,
            node,
            link: link_from_wire(wire.link.as_ref())?,
        })
    }
}

fn time_from_wire(wire: &wire::Window) -> Result<WindowTime, DecodeError> {
    let boot = wire.boot.as_slice();
    Ok(WindowTime {
        boot: boot.try_into().map_err(|_| DecodeError::Boot(boot.len()))?,
        monotonic_start_ms: count(wire.monotonic_start_ms)?,
        length_ms: count(wire.length_ms)?,
        coverage_ms: count(wire.coverage_ms)?,
        wall_start_ms: count(wire.wall_start_ms)?,
        clock: wire.clock().into(),
        windows: crate::add_counts(count(wire.merged)?, 1),
        interrupted: count(wire.interrupted)?,
    })
}

/// A gauge without samples is left out.
fn gauge_to_wire((name, gauge): (&String, &Gauge)) -> Option<wire::Gauge> {
    let known = KNOWN_GAUGES.iter().find(|(_, known)| known == name);
    (gauge.count() > 0).then(|| wire::Gauge {
        known: known
            .map_or(wire::GaugeName::Unspecified, |(known, _)| *known)
            .into(),
        name: if known.is_some() {
            String::new()
        } else {
            name.clone()
        },
        packed: gauge.pack(),
        ..wire::Gauge::default()
    })
}

/// `None` for a gauge whose number this program does not know.
fn gauge_from_wire(wire: &wire::Gauge) -> Result<Option<(String, Gauge)>, DecodeError> {
    let name = match wire.known() {
        wire::GaugeName::Unspecified if wire.known != 0 => return Ok(None),
        wire::GaugeName::Unspecified => name(&wire.name, "gauge")?,
        known => KNOWN_GAUGES
            .iter()
            .find(|(other, _)| *other == known)
            .map(|(_, name)| (*name).to_owned())
            .ok_or(DecodeError::Gauge)?,
    };
    Ok(Some((name, samples_from_wire(wire)?)))
}

/// The samples of a gauge, in either form.
fn samples_from_wire(wire: &wire::Gauge) -> Result<Gauge, DecodeError> {
    let gauge = if wire.packed.is_empty() {
        let sum = Sum::from_bytes(&wire.sum).ok_or(DecodeError::Gauge)?;
        Gauge::from_parts(wire.count, wire.min, wire.max, sum)
    } else {
        Gauge::unpack(&wire.packed)
    };
    gauge.ok_or(DecodeError::Gauge)
}

fn link_to_wire(link: &LinkStats) -> wire::Link {
    wire::Link {
        connected_ms: link.connected_ms,
        quic_ms: link.quic_ms,
        websocket_ms: link.websocket_ms,
        reconnects: link.reconnects,
        sent_bytes: link.sent_bytes,
        received_bytes: link.received_bytes,
    }
}

fn link_from_wire(wire: Option<&wire::Link>) -> Result<LinkStats, DecodeError> {
    let Some(wire) = wire else {
        return Ok(LinkStats::default());
    };
    Ok(LinkStats {
        connected_ms: count(wire.connected_ms)?,
        quic_ms: count(wire.quic_ms)?,
        websocket_ms: count(wire.websocket_ms)?,
        reconnects: count(wire.reconnects)?,
        sent_bytes: count(wire.sent_bytes)?,
        received_bytes: count(wire.received_bytes)?,
    })
}

fn count(count: u64) -> Result<u64, DecodeError> {
    if count > COUNT_MAX {
        Err(DecodeError::Count(count))
    } else {
        Ok(count)
    }
}

fn name(text: &str, what: &'static str) -> Result<String, DecodeError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        Err(DecodeError::Name { what })
    } else {
        Ok(text.to_owned())
    }
}
