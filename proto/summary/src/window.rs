//! A window: what one node measured between two moments, and how windows add up.

mod error_class;
mod merge;
mod stored;

use std::collections::BTreeMap;

pub use error_class::ErrorClass;
pub use merge::{DifferentBoot, Merged};
pub use stored::{DecodeError, WINDOW_BYTES_MAX};

use crate::{BaselineCounts, Classes, Gauge, Sketch};

/// What one node measured in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// When, and how much of it.
    pub time: WindowTime,
    /// By model version that answered requests.
    pub models: BTreeMap<ModelLabel, ModelStats>,
    /// Gauges of the node by name; the names are in [`crate::gauge`].
    pub node: BTreeMap<String, Gauge>,
    /// The connection to the cloud.
    pub link: LinkStats,
}

/// When a window was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTime {
    /// The boot its monotonic time counts from.
    pub boot: [u8; 16],
    /// Its beginning in milliseconds since boot.
    pub monotonic_start_ms: u64,
    /// How long it was, in milliseconds.
    pub length_ms: u64,
    /// How much of it was really measured, in milliseconds.
    pub coverage_ms: u64,
    /// Its beginning in Unix milliseconds by the node's clock.
    pub wall_start_ms: u64,
    /// How far that clock can be trusted.
    pub clock: ClockQuality,
    /// How many windows this one was made of by merging; 1 as it was recorded.
    pub windows: u64,
    /// In how many of those the agent ended before the window did.
    pub interrupted: u64,
}

/// How far a node's wall clock can be trusted, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockQuality {
    /// The kernel says that a time service keeps it.
    Synchronized,
    /// It runs, but nobody vouches for it.
    Unsynchronized,
    /// It was behind the last time the node knew; that time is given instead.
    Floor,
}

/// Which model version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelLabel {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
}

/// What one model version did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStats {
    /// Inference requests, failed ones included.
    pub requests: u64,
    /// Failed requests by class.
    pub errors: BTreeMap<ErrorClass, u64>,
    /// Latency of a request in the agent, in milliseconds.
    pub latency_ms: Sketch,
    /// Where that time went.
    pub phases: Phases,
    /// The model's own confidence, one number per request, where its manifest defines it.
    pub confidence: Sketch,
    /// Answers by class, where they have one.
    pub classes: Classes,
    /// Quality of the pictures it was given.
    pub image: ImageStats,
    /// Inputs and outputs in the bins of the package's baseline profile.
    pub baseline: BaselineCounts,
    /// Milliseconds with a ready worker.
    pub ready_ms: u64,
}

/// Where the time of answered requests went, in milliseconds. A phase that a request did not have is not counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phases {
    /// Waiting for a free place at the worker.
    pub queue_ms: Sketch,
    /// Making tensors of what came in.
    pub preprocess_ms: Sketch,
    /// Computing, copies between the processes included.
    pub infer_ms: Sketch,
    /// Making results of tensors.
    pub postprocess_ms: Sketch,
}

/// Quality of pictures: nothing of what they show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageStats {
    /// Mean lightness, 0 to 255.
    pub brightness: Gauge,
    /// Standard deviation of the lightness.
    pub contrast: Gauge,
    /// Variance of the Laplacian: low for a blurred picture.
    pub sharpness: Gauge,
}

/// How the connection to the cloud was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Milliseconds with a session.
    pub connected_ms: u64,
    /// Of those, over QUIC.
    pub quic_ms: u64,
    /// Of those, over WebSocket.
    pub websocket_ms: u64,
    /// Sessions opened.
    pub reconnects: u64,
    /// Bytes of frames sent.
    pub sent_bytes: u64,
    /// Bytes of frames received.
    pub received_bytes: u64,
}

impl Window {
    /// A window in which nothing was measured yet.
    #[must_use]
    pub fn new(time: WindowTime) -> Self {
        Self {
            time,
            models: BTreeMap::new(),
            node: BTreeMap::new(),
            link: LinkStats::default(),
        }
    }
}

impl Phases {
    /// Every phase with its stable name, in the order a request goes through them.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Sketch); 4] {
        [
            ("queue", &self.queue_ms),
            ("preprocess", &self.preprocess_ms),
            ("infer", &self.infer_ms),
            ("postprocess", &self.postprocess_ms),
        ]
    }
}

impl ImageStats {
    /// Every quality with its stable name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Gauge); 3] {
        [
            ("brightness", &self.brightness),
            ("contrast", &self.contrast),
            ("sharpness", &self.sharpness),
        ]
    }
}

impl ModelStats {
    /// Failed requests of all classes.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().copied().fold(0, crate::add_counts)
    }
}

#[cfg(test)]
mod tests;
