//! How windows add up, in any order.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{LinkStats, ModelLabel, ModelStats, Window, WindowTime};
use crate::{Gauge, add_counts};

/// Windows of different boots have no common time line.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("cannot merge windows of different boots into one: their monotonic times do not compare")]
pub struct DifferentBoot;

/// Many windows added up, whatever their boots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// How many windows, as they were recorded.
    pub windows: u64,
    /// How many of them were interrupted.
    pub interrupted: u64,
    /// Milliseconds really measured.
    pub coverage_ms: u64,
    /// Beginning of the first window, in Unix milliseconds by the nodes' clocks.
    pub first_ms: Option<u64>,
    /// End of the last window, in Unix milliseconds by the nodes' clocks.
    pub last_ms: Option<u64>,
    /// By model version.
    pub models: BTreeMap<ModelLabel, ModelStats>,
    /// Gauges by name.
    pub node: BTreeMap<String, Gauge>,
    /// Connections to the cloud.
    pub link: LinkStats,
}

impl Window {
    /// Makes this the window that covers both, as the outbox does when it runs out of room. What
    /// lies between them stays uncovered: `coverage_ms` adds up, `length_ms` spans.
    ///
    /// # Errors
    /// When the windows are of different boots; nothing has changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), DifferentBoot> {
        self.time = self.time.spanning(&other.time)?;
        merge_models(&mut self.models, &other.models);
        merge_gauges(&mut self.node, &other.node);
        self.link.merge(&other.link);
        Ok(())
    }
}

impl WindowTime {
    /// End of the window in milliseconds since boot.
    #[must_use]
    pub fn monotonic_end_ms(&self) -> u64 {
        self.monotonic_start_ms.saturating_add(self.length_ms)
    }

    /// The time that covers both windows.
    ///
    /// # Errors
    /// When they are of different boots.
    pub fn spanning(&self, other: &Self) -> Result<Self, DifferentBoot> {
        if self.boot != other.boot {
            return Err(DifferentBoot);
        }
        let start = self.monotonic_start_ms.min(other.monotonic_start_ms);
        let end = self.monotonic_end_ms().max(other.monotonic_end_ms());
        Ok(Self {
            boot: self.boot,
            monotonic_start_ms: start,
            length_ms: end - start,
            coverage_ms: add_counts(self.coverage_ms, other.coverage_ms),
            wall_start_ms: self.wall_start_ms.min(other.wall_start_ms),
            clock: self.clock.max(other.clock),
            windows: add_counts(self.windows, other.windows),
            interrupted: add_counts(self.interrupted, other.interrupted),
        })
    }
}

impl Merged {
    /// Adds one window.
    pub fn add(&mut self, window: &Window) {
        let time = &window.time;
        self.count(&Self {
            windows: time.windows,
            interrupted: time.interrupted,
            coverage_ms: time.coverage_ms,
            first_ms: Some(time.wall_start_ms),
            last_ms: Some(time.wall_start_ms.saturating_add(time.length_ms)),
            ..Self::default()
        });
        merge_models(&mut self.models, &window.models);
        merge_gauges(&mut self.node, &window.node);
        self.link.merge(&window.link);
    }

    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count(other);
        merge_models(&mut self.models, &other.models);
        merge_gauges(&mut self.node, &other.node);
        self.link.merge(&other.link);
    }

    fn count(&mut self, other: &Self) {
        self.windows = add_counts(self.windows, other.windows);
        self.interrupted = add_counts(self.interrupted, other.interrupted);
        self.coverage_ms = add_counts(self.coverage_ms, other.coverage_ms);
        self.first_ms = [self.first_ms, other.first_ms].into_iter().flatten().min();
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

impl ModelStats {
    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        self.requests = add_counts(self.requests, other.requests);
        for (class, count) in &other.errors {
            let own = self.errors.entry(*class).or_default();
            *own = add_counts(*own, *count);
        }
        self.latency_ms.merge(&other.latency_ms);
        let (own, phases) = (&mut self.phases, &other.phases);
        own.queue_ms.merge(&phases.queue_ms);
        own.preprocess_ms.merge(&phases.preprocess_ms);
        own.infer_ms.merge(&phases.infer_ms);
        own.postprocess_ms.merge(&phases.postprocess_ms);
        self.confidence.merge(&other.confidence);
        self.classes.merge(&other.classes);
        self.image.brightness.merge(&other.image.brightness);
        self.image.contrast.merge(&other.image.contrast);
        self.image.sharpness.merge(&other.image.sharpness);
        self.baseline.merge(&other.baseline);
        self.ready_ms = add_counts(self.ready_ms, other.ready_ms);
    }
}

impl LinkStats {
    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        self.connected_ms = add_counts(self.connected_ms, other.connected_ms);
        self.quic_ms = add_counts(self.quic_ms, other.quic_ms);
        self.websocket_ms = add_counts(self.websocket_ms, other.websocket_ms);
        self.reconnects = add_counts(self.reconnects, other.reconnects);
        self.sent_bytes = add_counts(self.sent_bytes, other.sent_bytes);
        self.received_bytes = add_counts(self.received_bytes, other.received_bytes);
    }
}

fn merge_models(
    own: &mut BTreeMap<ModelLabel, ModelStats>,
    other: &BTreeMap<ModelLabel, ModelStats>,
) {
    for (label, stats) in other {
        own.entry(label.clone()).or_default().merge(stats);
    }
}

fn merge_gauges(own: &mut BTreeMap<String, Gauge>, other: &BTreeMap<String, Gauge>) {
    for (name, gauge) in other {
        own.entry(name.clone()).or_default().merge(gauge);
    }
}
