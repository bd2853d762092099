//! Aggregation of one window: observations in, a [`Window`] out at its boundary.
//!
//! ```text
//! request(model, observation) ─┐
//! gauge(name, value) ──────────┼─▶ Aggregator ── cut(moment, totals) ──▶ Window, and the next begins
//! link totals ─────────────────┘
//! ```
//!
//! Windows follow each other without a hole: one begins where the last was cut. Knows no clock: the
//! moments are arguments.

use std::collections::BTreeMap;

use millwright_package::Reduce;
use millwright_proto::ids::{BootId, ModelVersion};
use millwright_summary::{
    ClockQuality, ErrorClass, Gauge, LinkStats, ModelLabel, ModelStats, Window, WindowTime,
};

/// A moment by both clocks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since boot.
    pub monotonic_ms: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// How far the wall clock can be trusted.
    pub clock: ClockQuality,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// It was answered.
    Answered {
        /// Time in the agent, in milliseconds.
        latency_ms: f64,
        /// The model's confidence, where its manifest defines one.
        confidence: Option<f64>,
    },
    /// It was not.
    Failed(ErrorClass),
}

/// Why a window is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It has its full length.
    Full,
    /// The agent ends; it would have had this length.
    Interrupted {
        /// Planned length in milliseconds.
        planned_ms: u64,
    },
}

/// The open window.
#[derive(Clone, Debug)]
pub struct Aggregator {
    boot: BootId,
    start: Moment,
    models: BTreeMap<ModelVersion, ModelStats>,
    node: BTreeMap<String, Gauge>,
    link_at_start: LinkStats,
}

impl Aggregator {
    /// A window that begins at `now`; `link` is what the connection has counted since the agent started.
    #[must_use]
    pub fn new(boot: BootId, now: Moment, link: LinkStats) -> Self {
        Self {
            boot,
            start: now,
            models: BTreeMap::new(),
            node: BTreeMap::new(),
            link_at_start: link,
        }
    }

    /// Counts one request.
    pub fn request(&mut self, model: &ModelVersion, observation: Observation) {
        // Looked up first, so that only the first request of a window allocates.
        if let Some(stats) = self.models.get_mut(model) {
            observe(stats, observation);
        } else {
            observe(self.models.entry(model.clone()).or_default(), observation);
        }
    }

    /// Adds one sample of a gauge; the names are in [`millwright_summary::gauge`].
    pub fn gauge(&mut self, name: &str, value: f64) {
        if let Some(gauge) = self.node.get_mut(name) {
            gauge.observe(value);
        } else {
            self.node.entry(name.to_owned()).or_default().observe(value);
        }
    }

    /// Closes the window at `now` and begins the next one there.
    pub fn cut(&mut self, now: Moment, cut: Cut, link: LinkStats) -> Window {
        let coverage_ms = now.monotonic_ms.saturating_sub(self.start.monotonic_ms);
        let time = WindowTime {
            boot: *self.boot.as_bytes(),
            monotonic_start_ms: self.start.monotonic_ms,
            length_ms: match cut {
                Cut::Full => coverage_ms,
                Cut::Interrupted { planned_ms } => planned_ms.max(coverage_ms),
            },
            coverage_ms,
            wall_start_ms: self.start.wall_ms,
            clock: self.start.clock,
            windows: 1,
            interrupted: u64::from(matches!(cut, Cut::Interrupted { .. })),
        };
        let window = Window {
            time,
            models: std::mem::take(&mut self.models)
                .into_iter()
                .map(labelled)
                .collect(),
            node: std::mem::take(&mut self.node),
            link: since(link, self.link_at_start),
        };
        self.start = now;
        self.link_at_start = link;
        window
    }
}

fn labelled((model, stats): (ModelVersion, ModelStats)) -> (ModelLabel, ModelStats) {
    let label = ModelLabel {
        model: model.model.to_string(),
        version: model.version.to_string(),
    };
    (label, stats)
}

/// Adds one request to the statistics of its model.
fn observe(stats: &mut ModelStats, observation: Observation) {
    stats.requests = stats.requests.saturating_add(1);
    match observation {
        Observation::Answered {
            latency_ms,
            confidence,
        } => {
            stats.latency_ms.insert(latency_ms);
            if let Some(confidence) = confidence {
                stats.confidence.insert(confidence);
            }
        }
        Observation::Failed(class) => {
            let count = stats.errors.entry(class).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// What was counted between two totals.
fn since(now: LinkStats, before: LinkStats) -> LinkStats {
    LinkStats {
        connected_ms: now.connected_ms.saturating_sub(before.connected_ms),
        quic_ms: now.quic_ms.saturating_sub(before.quic_ms),
        websocket_ms: now.websocket_ms.saturating_sub(before.websocket_ms),
        reconnects: now.reconnects.saturating_sub(before.reconnects),
        sent_bytes: now.sent_bytes.saturating_sub(before.sent_bytes),
        received_bytes: now.received_bytes.saturating_sub(before.received_bytes),
    }
}

/// One number from the elements of an output; `None` when it has no element that is a number.
#[must_use]
pub fn reduce(how: Reduce, elements: impl Iterator<Item = f64>) -> Option<f64> {
    let numbers = elements.filter(|element| !element.is_nan());
    match how {
        Reduce::Max => numbers.reduce(f64::max),
        Reduce::Min => numbers.reduce(f64::min),
        Reduce::Mean => {
            let (sum, count) = numbers.fold((0.0, 0_u64), |(sum, count), number| {
                (sum + number, count + 1)
            });
            (count > 0).then(|| sum / count as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Moment {
        Moment {
            monotonic_ms,
            wall_ms: 1_000_000 + monotonic_ms,
            clock: ClockQuality::Synchronized,
        }
    }

    fn sent(sent_bytes: u64) -> LinkStats {
        LinkStats {
            sent_bytes,
            ..LinkStats::default()
        }
    }

    #[test]
    fn a_window_counts_what_happened_since_the_last_cut_and_nothing_else() {
        let model: ModelVersion = "detector@1.0.0".parse().unwrap();
        let mut open = Aggregator::new(BootId::from_bytes([7; 16]), at(500), sent(100));
        open.request(
            &model,
            Observation::Answered {
                latency_ms: 4.0,
                confidence: Some(0.5),
            },
        );
        open.request(&model, Observation::Failed(ErrorClass::Shape));
        open.gauge("cpu_percent", 10.0);
        open.gauge("cpu_percent", 30.0);
        let window = open.cut(at(60_500), Cut::Full, sent(350));
        let stats = window.models.values().next().unwrap();
        assert_eq!((stats.requests, stats.failed()), (2, 1));
        assert_eq!((stats.latency_ms.count(), stats.confidence.count()), (1, 1));
        assert_eq!(window.node["cpu_percent"].mean(), Some(20.0));
        assert_eq!(window.link.sent_bytes, 250);
        assert_eq!(window.time.monotonic_start_ms, 500);
        assert_eq!(
            (window.time.length_ms, window.time.coverage_ms),
            (60_000, 60_000)
        );
        assert_eq!(window.time.interrupted, 0);

        let next = open.cut(at(120_500), Cut::Full, sent(350));
        assert_eq!(next.time.monotonic_start_ms, 60_500);
        assert!(next.models.is_empty() && next.node.is_empty());
        assert_eq!(next.link, LinkStats::default());
    }

    #[test]
    fn an_interrupted_window_says_how_much_of_its_length_it_covers() {
        let mut open = Aggregator::new(BootId::from_bytes([7; 16]), at(0), sent(0));
        let window = open.cut(at(15_000), Cut::Interrupted { planned_ms: 60_000 }, sent(0));
        assert_eq!(window.time.interrupted, 1);
        assert_eq!(
            (window.time.length_ms, window.time.coverage_ms),
            (60_000, 15_000)
        );
    }

    #[test]
    fn confidence_is_one_number_and_skips_what_is_none() {
        let elements = || [0.25, f64::NAN, 0.75].into_iter();
        assert_eq!(reduce(Reduce::Max, elements()), Some(0.75));
        assert_eq!(reduce(Reduce::Min, elements()), Some(0.25));
        assert_eq!(reduce(Reduce::Mean, elements()), Some(0.5));
        assert_eq!(reduce(Reduce::Mean, [f64::NAN].into_iter()), None);
    }
}
