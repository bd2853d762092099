//! How a pipeline is doing: counters, and the state of its source, its model and its sinks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::status::ask::wall_ms;

/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 300;

/// What is told of one pipeline. Times are Unix milliseconds by the node's own clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineFacts {
    /// Its name.
    pub name: String,
    /// Its model.
    pub model: String,
    /// `starting`, `running`, `sourceUnreachable`, `waitingForModel`, `unfit`, `sinkFailing`; `refused` for one of the cloud
    /// that does not run here.
    pub state: String,
    /// Why it is not running; empty when it is.
    pub reason: String,
    /// Since when.
    pub since_ms: u64,
    /// Inputs that came: messages, pictures, files, requests.
    pub received: u64,
    /// Inputs that gave way because more came than were answered, came late, or stayed incomplete.
    pub dropped: u64,
    /// Model inputs that were answered.
    pub answered: u64,
    /// Model inputs that were not.
    pub failed: u64,
    /// Results that a sink did not take.
    pub undelivered: u64,
    /// Hard examples kept since the agent started.
    pub kept: u64,
    /// Model inputs that a shadow answered, too.
    pub compared: u64,
    /// Those of them on which it said something else.
    pub disagreed: u64,
    /// Why the shadow did not answer last; empty when it did, and without one.
    pub shadow_reason: String,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Received,
    Dropped,
    Answered,
    Failed,
    Undelivered,
    Kept,
    Compared,
    Disagreed,
}

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Away: inputs cannot come.
    Source,
    /// Away: no ready worker.
    Model,
    /// The pipeline and its model do not fit together.
    Fit,
    /// Results are not taken.
    Sink,
}

/// In the order in which one hides the next.
const PARTS: [(Part, &str); 4] = [
    (Part::Source, "sourceUnreachable"),
    (Part::Model, "waitingForModel"),
    (Part::Fit, "unfit"),
    (Part::Sink, "sinkFailing"),
];

const COUNTS: usize = 8;

/// Takes and tells how one pipeline is doing. A cheap handle.
#[derive(Clone, Debug)]
pub(super) struct Gauge {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    model: String,
    counts: [AtomicU64; COUNTS],
    /// Held for one change or one look.
    trouble: Mutex<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    /// Per part why it is away.
    reasons: [Option<String>; PARTS.len()],
    /// Why the shadow did not answer last. It is no part: the pipeline runs without it.
    shadow: Option<String>,
    /// Whether the source has been there once.
    started: bool,
    since_ms: u64,
}

impl Gauge {
    /// It starts now.
    pub(super) fn new(name: &str, model: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                model: model.to_owned(),
                counts: Default::default(),
                trouble: Mutex::new(Trouble {
                    reasons: Default::default(),
                    shadow: None,
                    started: false,
                    since_ms: wall_ms(),
                }),
            }),
        }
    }

    /// Counts one more.
    pub(super) fn count(&self, count: Count) {
        self.shared.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// `part` is away because of `reason`. Logged when that is news.
    pub(super) fn trouble(&self, part: Part, reason: &str) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let mut trouble = self.lock();
        let news = trouble.change(part, Some(reason.clone()));
        drop(trouble);
        if news {
            tracing::warn!(pipeline = self.shared.name, part = ?part, "{reason}");
        }
    }

    /// `part` is there.
    pub(super) fn well(&self, part: Part) {
        let mut trouble = self.lock();
        trouble.started |= part == Part::Source;
        let news = trouble.change(part, None);
        drop(trouble);
        if news {
            tracing::info!(pipeline = self.shared.name, part = ?part, "is back");
        }
    }

    /// The shadow did not answer because of `reason`. Logged when that is news.
    pub(super) fn shadow_missed(&self, reason: &str) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let before = self.lock().shadow.replace(reason.clone());
        if before.as_ref() != Some(&reason) {
            tracing::warn!(
                pipeline = self.shared.name,
                "its shadow did not answer: {reason}"
            );
        }
    }

    /// The shadow answered.
    pub(super) fn shadow_answered(&self) {
        self.count(Count::Compared);
        self.lock().shadow = None;
    }

    /// What is told now.
    pub(super) fn facts(&self) -> PipelineFacts {
        let count = |count: Count| self.shared.counts[count as usize].load(Ordering::Relaxed);
        let trouble = self.lock();
        let (state, reason) = trouble.state();
        PipelineFacts {
            name: self.shared.name.clone(),
            model: self.shared.model.clone(),
            state: state.to_owned(),
            reason: reason.to_owned(),
            since_ms: trouble.since_ms,
            received: count(Count::Received),
            dropped: count(Count::Dropped),
            answered: count(Count::Answered),
            failed: count(Count::Failed),
            undelivered: count(Count::Undelivered),
            kept: count(Count::Kept),
            compared: count(Count::Compared),
            disagreed: count(Count::Disagreed),
            shadow_reason: trouble.shadow.clone().unwrap_or_default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Trouble> {
        // Nothing panics while it is held.
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// Whether the part was well before and is not now, or the other way round.
    fn change(&mut self, part: Part, reason: Option<String>) -> bool {
        let before = self.state().0;
        let slot = &mut self.reasons[part as usize];
        let news = slot.is_some() != reason.is_some();
        *slot = reason;
        if self.state().0 != before {
            self.since_ms = wall_ms();
        }
        news
    }

    fn state(&self) -> (&'static str, &str) {
        let away = PARTS
            .iter()
            .find_map(|(part, state)| Some((*state, self.reasons[*part as usize].as_deref()?)));
        match (away, self.started) {
            (Some(away), _) => away,
            (None, true) => ("running", ""),
            (None, false) => ("starting", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_hides_the_model_and_a_pipeline_runs_once_all_are_there() {
        let gauge = Gauge::new("gate", "faces");
        assert_eq!(gauge.facts().state, "starting");
        gauge.trouble(Part::Model, "no version is active");
        gauge.trouble(Part::Source, "connection refused");
        let facts = gauge.facts();
        assert_eq!(
            (facts.state.as_str(), facts.reason.as_str()),
            ("sourceUnreachable", "connection refused")
        );
        gauge.well(Part::Source);
        assert_eq!(gauge.facts().state, "waitingForModel");
        gauge.well(Part::Model);
        gauge.count(Count::Answered);
        let facts = gauge.facts();
        assert_eq!((facts.state.as_str(), facts.answered), ("running", 1));
    }
}
