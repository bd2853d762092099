//! Aggregation of one window: observations in, a [`Window`] out at its boundary.
//!
//! ```text
//! request(model, observation) ─┐
//! input(model, sample) ────────┤
//! gauge(name, value) ──────────┼─▶ Aggregator ── cut(moment, totals) ──▶ Window, and the next begins
//! link totals ─────────────────┘
//! ```
//!
//! Inputs are counted in the bins of the model's baseline profile, and nothing of them is kept but the counts.
//!
//! Windows follow each other without a hole: one begins where the last was cut. Knows no clock: the
//! moments are arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use millwright_package::{Profile, Reduce};
use millwright_proto::ids::{BootId, ModelVersion};
use millwright_summary::{
    BaselineCounts, ClockQuality, ErrorClass, Gauge, LinkStats, ModelLabel, ModelStats, Window,
    WindowTime,
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
        /// Where it went.
        phases: Phases,
        /// The model's confidence, where its manifest defines one.
        confidence: Option<f64>,
        /// The class it gave, where it gives one.
        class: Option<u32>,
    },
    /// It was not.
    Failed(ErrorClass),
}

/// Where the time of a request went, in milliseconds; 0 for a phase it did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phases {
    /// Waiting for a free place at the worker.
    pub queue_ms: f64,
    /// Making tensors of what came in.
    pub preprocess_ms: f64,
    /// Computing, copies between the processes included.
    pub infer_ms: f64,
    /// Making results of tensors.
    pub postprocess_ms: f64,
}

/// What is looked at of one input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputSample<'a> {
    /// One row of the features of the model's profile, in its order.
    Features(&'a [f64]),
    /// How good one picture is.
    Image(Quality),
}

/// How good a picture is: nothing of what it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Mean lightness, 0 to 255.
    pub brightness: f64,
    /// Standard deviation of the lightness.
    pub contrast: f64,
    /// Variance of the Laplacian: low for a blurred picture.
    pub sharpness: f64,
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
    /// Of the versions that are active; they stay from window to window.
    baselines: BTreeMap<ModelVersion, Arc<Profile>>,
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
            baselines: BTreeMap::new(),
        }
    }

    /// Compares what `model` is given and gives with `profile` from now on; `None`: with nothing.
    pub fn baseline(&mut self, model: &ModelVersion, profile: Option<Arc<Profile>>) {
        match profile {
            Some(profile) => {
                let stats = self.models.entry(model.clone()).or_default();
                if stats.baseline.profile != profile.counts().profile {
                    stats.baseline = profile.counts();
                }
                self.baselines.insert(model.clone(), profile);
            }
            None => {
                self.baselines.remove(model);
            }
        }
    }

    /// Counts one request.
    pub fn request(&mut self, model: &ModelVersion, observation: Observation) {
        let (stats, profile) = self.stats(model);
        observe(stats, profile, observation);
    }

    /// Looks at one input of `model`.
    pub fn input(&mut self, model: &ModelVersion, sample: InputSample<'_>) {
        let (stats, profile) = self.stats(model);
        match sample {
            InputSample::Features(values) => {
                if let Some(profile) = profile {
                    profile.count_features(values, &mut stats.baseline);
                }
            }
            InputSample::Image(quality) => {
                stats.image.brightness.observe(quality.brightness);
                stats.image.contrast.observe(quality.contrast);
                stats.image.sharpness.observe(quality.sharpness);
                if let Some(profile) = profile {
                    let qualities = [quality.brightness, quality.contrast, quality.sharpness];
                    profile.count_image(qualities, &mut stats.baseline);
                }
            }
        }
    }

    /// Counts time in which `model` had a ready worker.
    pub fn ready(&mut self, model: &ModelVersion, ready_ms: u64) {
        let (stats, _) = self.stats(model);
        stats.ready_ms = stats.ready_ms.saturating_add(ready_ms);
    }

    /// Statistics and profile of a model. Looked up first, so that only the first of a window allocates.
    fn stats(&mut self, model: &ModelVersion) -> (&mut ModelStats, Option<&Profile>) {
        let profile = self.baselines.get(model).map(Arc::as_ref);
        if !self.models.contains_key(model) {
            let baseline = profile.map(Profile::counts).unwrap_or_default();
            let stats = ModelStats {
                baseline,
                ..ModelStats::default()
            };
            self.models.insert(model.clone(), stats);
        }
        let stats = self.models.get_mut(model);
        (stats.expect("it was put in above"), profile)
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
                .filter(|(_, stats)| *stats != ModelStats::default())
                .map(|(model, stats)| {
                    let profile = self.baselines.get(&model).map(Arc::as_ref);
                    (label(&model), closed(stats, profile))
                })
                .collect(),
            node: std::mem::take(&mut self.node),
            link: since(link, self.link_at_start),
        };
        self.start = now;
        self.link_at_start = link;
        window
    }
}

/// How a window names a model version.
#[must_use]
pub fn label(model: &ModelVersion) -> ModelLabel {
    ModelLabel {
        model: model.model.to_string(),
        version: model.version.to_string(),
    }
}

/// As it is sent: the classes that matter, and no counts of nothing.
fn closed(mut stats: ModelStats, profile: Option<&Profile>) -> ModelStats {
    let expected = profile.and_then(Profile::classes);
    stats.classes = stats
        .classes
        .shortened(|class| expected.is_some_and(|classes| classes.shares.contains_key(&class)));
    if stats.baseline.is_empty() {
        stats.baseline = BaselineCounts::default();
    }
    stats
}

/// Adds one request to the statistics of its model.
fn observe(stats: &mut ModelStats, profile: Option<&Profile>, observation: Observation) {
    stats.requests = stats.requests.saturating_add(1);
    match observation {
        Observation::Answered {
            latency_ms,
            phases,
            confidence,
            class,
        } => {
            stats.latency_ms.insert(latency_ms);
            let into = &mut stats.phases;
            for (sketch, ms) in [
                (&mut into.queue_ms, phases.queue_ms),
                (&mut into.preprocess_ms, phases.preprocess_ms),
                (&mut into.infer_ms, phases.infer_ms),
                (&mut into.postprocess_ms, phases.postprocess_ms),
            ] {
                if ms > 0.0 {
                    sketch.insert(ms);
                }
            }
            if let Some(confidence) = confidence {
                stats.confidence.insert(confidence);
                if let Some(profile) = profile {
                    profile.count_confidence(confidence, &mut stats.baseline);
                }
            }
            if let Some(class) = class {
                stats.classes.add(class);
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
mod tests;
