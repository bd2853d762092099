//! Decides which inputs are hard, and hands them to the disk.
//!
//! The private parts of a picture are covered before anything is written: what is kept is made of the frame the runner
//! has covered, never of the bytes that came.

use std::path::Path;
use std::time::Duration;

use millwright_pipeline::HardExamples;
use millwright_proto::ids::{ModelVersion, PipelineName};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::gauge::{Count, Gauge, Part};
use super::super::item::Content;
use super::super::outcome::{Answer, Outcome};
use crate::hard_examples::{New, Reason, Store};
use crate::serving::models::ActiveModels;
use crate::status::ask::wall_ms;

/// Examples that wait for the disk: each may hold a picture.
const EXAMPLES_WAITING_MAX: usize = 4;

/// Better than what people look at: a model may be trained on it.
const JPEG_QUALITY: u8 = 92;

/// A mebibyte.
const MIB: u64 = 1024 * 1024;

/// Picks hard examples.
#[derive(Debug)]
pub(in crate::pipeline) struct Keeper {
    rules: HardExamples,
    models: ActiveModels,
    /// Examples that may still be kept in the minute that ends at the instant.
    minute: (u32, Option<Instant>),
    examples: mpsc::Sender<Hard>,
}

/// A hard example on its way to the disk.
#[derive(Debug)]
pub(in crate::pipeline) struct Hard {
    model: ModelVersion,
    reason: Reason,
    confidence: Option<f64>,
    input: Input,
    json: bytes::Bytes,
}

#[derive(Debug)]
enum Input {
    Frame(edge_vision::Frame),
    Rows(Vec<f64>),
    Message(bytes::Bytes),
    Elements(bytes::Bytes),
}

/// A picker, and where its examples wait for [`write()`].
pub(in crate::pipeline) fn keeper(
    rules: HardExamples,
    models: ActiveModels,
) -> (Keeper, mpsc::Receiver<Hard>) {
    let (examples, waiting) = mpsc::channel(EXAMPLES_WAITING_MAX);
    let keeper = Keeper {
        rules,
        models,
        minute: (0, None),
        examples,
    };
    (keeper, waiting)
}

impl Keeper {
    /// Keeps the input if it is hard; `false` when it should have been and the disk does not keep up.
    pub(super) fn offer(&mut self, outcome: &Outcome) -> bool {
        let Some(answer) = &outcome.answer else {
            return true;
        };
        let Some(reason) = self.reason(answer) else {
            return true;
        };
        self.keep(outcome, answer, reason)
    }

    /// Keeps an input on which a shadow said something else, if that is wanted; `false` as for [`Self::offer`].
    pub(super) fn offer_disputed(&mut self, outcome: &Outcome) -> bool {
        match &outcome.answer {
            Some(answer) if self.rules.disagreement => {
                self.keep(outcome, answer, Reason::Disagreement)
            }
            Some(_) | None => true,
        }
    }

    fn keep(&mut self, outcome: &Outcome, answer: &Answer, reason: Reason) -> bool {
        if !self.may_keep(Instant::now()) {
            return true;
        }
        let Some(input) = input(&outcome.content, answer) else {
            return true;
        };
        let hard = Hard {
            model: answer.model.clone(),
            reason,
            confidence: answer.confidence,
            input,
            json: outcome.json.clone(),
        };
        self.examples.try_send(hard).is_ok()
    }

    fn reason(&self, answer: &Answer) -> Option<Reason> {
        if self.rules.drift && self.models.drifts(&answer.model) {
            return Some(Reason::Drift);
        }
        let below = self.rules.confidence_below?;
        let unsure = answer
            .confidence
            .is_some_and(|confidence| confidence < below);
        unsure.then_some(Reason::LowConfidence)
    }

    /// Whether the minute has room for one more.
    fn may_keep(&mut self, now: Instant) -> bool {
        let (left, ends) = self.minute;
        if ends.is_none_or(|ends| now >= ends) {
            self.minute = (self.rules.per_minute, Some(now + Duration::from_secs(60)));
        } else if left == 0 {
            return false;
        }
        self.minute.0 -= 1;
        true
    }
}

fn input(content: &Content, answer: &Answer) -> Option<Input> {
    match (content, &answer.frame) {
        (Content::Picture(_), Some(frame)) => Some(Input::Frame(frame.clone())),
        // Never the bytes that came: they are not covered.
        (Content::Picture(_), None) | (Content::Unreadable(_), _) => None,
        (Content::Rows(values), _) => Some(Input::Rows(values.clone())),
        (Content::Message(bytes), _) => Some(Input::Message(bytes.clone())),
        (Content::Elements(_, bytes), _) => Some(Input::Elements(bytes.clone())),
    }
}

/// Writes examples until nobody brings any more. Blocks: it belongs on a thread of its own.
pub(in crate::pipeline) fn write(
    root: &Path,
    pipeline: &PipelineName,
    rules: &HardExamples,
    mut examples: mpsc::Receiver<Hard>,
    gauge: &Gauge,
) {
    let quota = u64::from(rules.quota_mib) * MIB;
    let mut store = None;
    while let Some(hard) = examples.blocking_recv() {
        let kept = match &mut store {
            Some(store) => keep(store, hard),
            None => match Store::open(root, pipeline, quota) {
                Ok(opened) => keep(store.insert(opened), hard),
                Err(error) => Err(crate::control::chain(&error)),
            },
        };
        match kept {
            Ok(()) => {
                gauge.count(Count::Kept);
                gauge.well(Part::Sink);
            }
            Err(reason) => {
                gauge.count(Count::Undelivered);
                gauge.trouble(Part::Sink, &reason);
            }
        }
    }
}

fn keep(store: &mut Store, hard: Hard) -> Result<(), String> {
    let (form, data) = match hard.input {
        Input::Frame(frame) => ("jpg", frame.encode_jpeg(JPEG_QUALITY)),
        Input::Rows(values) => {
            let json = serde_json::to_vec(&values).map_err(|error| error.to_string())?;
            ("json", json)
        }
        Input::Message(bytes) => ("json", bytes.to_vec()),
        Input::Elements(bytes) => ("bin", bytes.to_vec()),
    };
    let new = New {
        model: &hard.model,
        reason: hard.reason,
        confidence: hard.confidence,
        form,
        data: &data,
        result: serde_json::from_slice(&hard.json).unwrap_or_default(),
    };
    store
        .keep(new, wall_ms())
        .map(drop)
        .map_err(|error| crate::control::chain(&error))
}
