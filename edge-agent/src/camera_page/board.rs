//! What the page shows: per pipeline the last frame, the last result and how it runs.
//!
//! Pipelines write ([`Board::publish`], [`Board::rates`], [`Board::about`]), the page reads. One frame per pipeline is
//! kept, and nobody waits for anybody: a slow browser misses frames.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edge_vision::{Decoded, Quality};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pipelines shown. A node has some; beyond this a mistake makes names.
pub const PIPELINES_MAX: usize = 64;

/// Confidences kept for the curve: a minute at two results a second, twelve seconds at ten.
const CONFIDENCES_MAX: usize = 120;

/// Rates are those of about this time.
const RATE_WINDOW: Duration = Duration::from_secs(4);

/// Counts are kept this far apart, so that a pipeline may tell them as often as it likes.
const RATE_STEP: Duration = Duration::from_millis(500);

/// Somebody who asked for a frame within this time is still looking.
const WATCHED_FOR: Duration = Duration::from_secs(3);

/// Time between two frames for somebody who looks: 12 a second.
const PICTURE_EVERY: Duration = Duration::from_millis(80);

/// Time between two frames when nobody looks, so that there is one when somebody comes.
const UNWATCHED_EVERY: Duration = Duration::from_secs(2);

/// One result for the page.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The annotated frame; empty when there is none, or none this time. The last one stays then.
    pub jpeg: Bytes,
    /// What the model said.
    pub decoded: Arc<Decoded>,
    /// When the input was taken.
    pub taken_at: SystemTime,
}

/// How a pipeline runs. Counts since it began; what they make per second is computed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Inputs that came.
    pub received: u64,
    /// Inputs given up because others came.
    pub dropped: u64,
    /// Inputs the model answered.
    pub answered: u64,
    /// Inputs that got no answer.
    pub failed: u64,
    /// In words, for a person: `running`, `camera does not answer: connection refused`.
    pub state: String,
}

/// What else is known about the last result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Name and version of the model that answered, for example `face-detector 1.0.0`.
    pub model: String,
    /// From the input to its result.
    pub latency: Option<Duration>,
    /// How bright and sharp the frame was.
    pub quality: Option<Quality>,
}

/// A frame with the tag browsers know it by.
#[derive(Debug)]
pub struct Picture {
    /// As HTTP has it, quotes included. Unique over restarts.
    pub tag: String,
    /// The annotated frame.
    pub jpeg: Bytes,
}

/// Where pipelines show what they see. A cheap handle.
#[derive(Clone, Debug)]
pub struct Board {
    // Owned by the board alone; held for the copying of some numbers, never across an await.
    shown: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// Tells this run of the agent from earlier ones.
    run: u64,
}

#[derive(Debug)]
struct Entry {
    frame: watch::Sender<Option<Arc<Picture>>>,
    frames: u64,
    pictured: Option<Instant>,
    watched: Option<Instant>,
    result: Option<(Arc<Decoded>, SystemTime)>,
    confidences: VecDeque<Option<f64>>,
    about: About,
    rates: Rates,
    counts: VecDeque<(Instant, Rates)>,
}

/// One line of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// In words.
    pub state: String,
}

/// Everything about one pipeline but its frame.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// In words.
    state: String,
    /// Whether there is a frame.
    has_picture: bool,
    /// When the last input was taken, in Unix milliseconds by the node's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_at_ms: Option<u64>,
    /// How long ago that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Quality>,
    per_second: PerSecond,
    since_start: Counts,
    /// Of the last results, the oldest first; `null` where nothing was found.
    confidences: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    result: Option<Arc<Decoded>>,
}

#[derive(Debug, PartialEq, Serialize)]
struct PerSecond {
    received: f64,
    answered: f64,
    dropped: f64,
    failed: f64,
}

#[derive(Debug, Serialize)]
struct Counts {
    received: u64,
    answered: u64,
    dropped: u64,
    failed: u64,
}

impl Default for Board {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            shown: Arc::default(),
            run: since.map_or(0, |time| time.as_micros() as u64),
        }
    }
}

impl Board {
    /// Shows a result. What the pipeline showed before is gone.
    pub fn publish(&self, pipeline: &str, shown: Shown) {
        let run = self.run;
        self.change(pipeline, |entry| {
            if entry.confidences.len() == CONFIDENCES_MAX {
                entry.confidences.pop_front();
            }
            entry.confidences.push_back(shown.decoded.confidence());
            entry.result = Some((shown.decoded, shown.taken_at));
            if shown.jpeg.is_empty() {
                return;
            }
            entry.frames += 1;
            entry.pictured = Some(Instant::now());
            let tag = format!("\"{run:x}-{:x}\"", entry.frames);
            let jpeg = shown.jpeg;
            entry
                .frame
                .send_replace(Some(Arc::new(Picture { tag, jpeg })));
        });
    }

    /// Shows how the pipeline runs.
    pub fn rates(&self, pipeline: &str, rates: Rates) {
        self.change(pipeline, |entry| {
            let now = Instant::now();
            let last = entry.counts.back().map(|(time, _)| *time);
            if last.is_none_or(|time| now.duration_since(time) >= RATE_STEP) {
                entry.counts.push_back((now, rates.clone()));
            }
            while entry.counts.len() > 1 && now.duration_since(entry.counts[1].0) >= RATE_WINDOW {
                entry.counts.pop_front();
            }
            entry.rates = rates;
        });
    }

    /// Shows more about the last result.
    pub fn about(&self, pipeline: &str, about: About) {
        self.change(pipeline, |entry| entry.about = about);
    }

    /// Whether a frame would be looked at: then it is worth drawing and encoding. True about 12 times a second while
    /// a browser shows the pipeline, and every other second otherwise.
    #[must_use]
    pub fn wants_picture(&self, pipeline: &str) -> bool {
        let shown = self.lock();
        let Some(entry) = shown.get(pipeline) else {
            return true;
        };
        let is_watched = entry
            .watched
            .is_some_and(|time| time.elapsed() < WATCHED_FOR);
        let pause = if is_watched {
            PICTURE_EVERY
        } else {
            UNWATCHED_EVERY
        };
        entry.pictured.is_none_or(|time| time.elapsed() >= pause)
    }

    /// Takes a pipeline off; who waits for its next frame is told that it has gone.
    pub fn remove(&self, pipeline: &str) {
        self.lock().remove(pipeline);
    }

    /// The pipelines, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let listed = |(name, entry): (&String, &Entry)| Listed {
            name: name.clone(),
            state: entry.rates.state.clone(),
        };
        self.lock().iter().map(listed).collect()
    }

    /// Everything about one pipeline but its frame.
    #[must_use]
    pub fn state(&self, pipeline: &str) -> Option<State> {
        self.lock().get(pipeline).map(Entry::state)
    }

    /// The frames of a pipeline from now on.
    pub(super) fn watch(&self, pipeline: &str) -> Option<watch::Receiver<Option<Arc<Picture>>>> {
        let mut shown = self.lock();
        let entry = shown.get_mut(pipeline)?;
        entry.watched = Some(Instant::now());
        Some(entry.frame.subscribe())
    }

    fn change(&self, pipeline: &str, change: impl FnOnce(&mut Entry)) {
        let mut shown = self.lock();
        if let Some(entry) = shown.get_mut(pipeline) {
            change(entry);
        } else if shown.len() < PIPELINES_MAX {
            change(shown.entry(pipeline.to_owned()).or_default());
        } else {
            tracing::debug!(
                pipeline,
                "not shown: the page has {PIPELINES_MAX} pipelines"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Whatever panicked left whole entries behind.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            frame: watch::Sender::new(None),
            frames: 0,
            pictured: None,
            watched: None,
            result: None,
            confidences: VecDeque::new(),
            about: About::default(),
            rates: Rates::default(),
            counts: VecDeque::new(),
        }
    }
}

impl Entry {
    fn state(&self) -> State {
        let taken_at = self.result.as_ref().map(|(_, taken_at)| *taken_at);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Rates {
            received,
            dropped,
            answered,
            failed,
            state,
        } = self.rates.clone();
        State {
            state,
            has_picture: self.frames > 0,
            taken_at_ms: taken_at
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                .map(millis),
            age_ms: taken_at.map(|time| millis(time.elapsed().unwrap_or_default())),
            model: self.about.model.clone(),
            latency_ms: self.about.latency.map(|time| time.as_secs_f64() * 1e3),
            quality: self.about.quality,
            per_second: self.per_second(),
            since_start: Counts {
                received,
                answered,
                dropped,
                failed,
            },
            confidences: self.confidences.iter().copied().collect(),
            result: self.result.as_ref().map(|(decoded, _)| Arc::clone(decoded)),
        }
    }

    /// From the oldest counts that are kept until now. A pipeline that tells nothing any more runs out to nothing.
    fn per_second(&self) -> PerSecond {
        let (seconds, first) = match self.counts.front() {
            Some((time, first)) => (time.elapsed().as_secs_f64(), first),
            None => (0.0, &self.rates),
        };
        let rate = |last: u64, first: u64| {
            if seconds < RATE_STEP.as_secs_f64() {
                return 0.0;
            }
            // A pipeline that began anew counts from nothing.
            last.saturating_sub(first) as f64 / seconds
        };
        PerSecond {
            received: rate(self.rates.received, first.received),
            answered: rate(self.rates.answered, first.answered),
            dropped: rate(self.rates.dropped, first.dropped),
            failed: rate(self.rates.failed, first.failed),
        }
    }
}

fn shared<S: serde::Serializer>(
    result: &Option<Arc<Decoded>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    result.as_deref().serialize(serializer)
}

#[cfg(test)]
mod tests;
