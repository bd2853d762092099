//! An answered request that is counted once its caller has made something of the tensors.

use std::time::Duration;

use millwright_proto::ids::ModelVersion;

use crate::telemetry::{Outcome, Phases, Recorder};
use crate::worker::InferOutput;

/// The answer to one request. It is counted when it is taken or dropped.
#[derive(Debug)]
pub struct Answer {
    output: InferOutput,
    pending: Pending,
}

/// What a caller made of the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decoded {
    /// How long that took.
    pub postprocess: Duration,
    /// The confidence it found; without one that of the manifest counts.
    pub confidence: Option<f64>,
    /// The class it found.
    pub class: Option<u32>,
}

impl Answer {
    pub(super) fn new(output: InferOutput, pending: Pending) -> Self {
        Self { output, pending }
    }

    /// The tensors.
    #[must_use]
    pub fn output(&self) -> &InferOutput {
        &self.output
    }

    /// Counts the request with what was made of its tensors.
    pub fn decoded(mut self, decoded: Decoded) -> InferOutput {
        self.pending.add(decoded);
        self.into_output()
    }

    /// Counts the request as it is.
    #[must_use]
    pub fn into_output(self) -> InferOutput {
        drop(self.pending);
        self.output
    }
}

/// Counts a request when it is dropped.
#[derive(Debug)]
pub(super) struct Pending {
    recorder: Recorder,
    model: ModelVersion,
    latency: Duration,
    phases: Phases,
    confidence: Option<f64>,
    class: Option<u32>,
}

impl Pending {
    /// `latency` is what has passed so far, `preprocess` included.
    pub(super) fn new(
        recorder: Recorder,
        output: &InferOutput,
        preprocess: Duration,
        latency: Duration,
    ) -> Self {
        Self {
            recorder,
            model: output.model.clone(),
            latency,
            phases: Phases {
                queue: output.timing.queue,
                preprocess,
                infer: output.timing.infer,
                postprocess: Duration::ZERO,
            },
            confidence: output.confidence,
            class: None,
        }
    }

    fn add(&mut self, decoded: Decoded) {
        self.latency += decoded.postprocess;
        self.phases.postprocess = decoded.postprocess;
        self.confidence = decoded.confidence.or(self.confidence);
        self.class = decoded.class;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let outcome = Outcome::Answered {
            latency: self.latency,
            phases: self.phases,
            confidence: self.confidence,
            class: self.class,
        };
        self.recorder.request(&self.model, outcome);
    }
}

#[cfg(test)]
mod tests {
    use edge_core::summary::Moment;
    use millwright_proto::ids::BootId;
    use millwright_summary::ClockQuality;

    use super::*;
    use crate::worker::Timing;

    fn answer(recorder: &Recorder) -> Answer {
        let ms = Duration::from_millis;
        let output = InferOutput {
            model: "sorter@1.0.0".parse().unwrap(),
            tensors: Vec::new(),
            confidence: Some(0.5),
            timing: Timing {
                queue: ms(1),
                infer: ms(8),
            },
        };
        let pending = Pending::new(recorder.clone(), &output, ms(3), ms(13));
        Answer::new(output, pending)
    }

    #[test]
    fn an_answer_is_counted_once_with_what_was_made_of_it() {
        let start = Moment {
            monotonic_ms: 0,
            wall_ms: 0,
            clock: ClockQuality::Floor,
        };
        let recorder = Recorder::new(BootId::from_bytes([0; 16]), start);
        let _ = answer(&recorder).decoded(Decoded {
            postprocess: Duration::from_millis(2),
            confidence: None,
            class: Some(4),
        });
        drop(answer(&recorder));
        let counters = recorder.counters();
        let counters = counters.models.values().next().unwrap();
        assert_eq!((counters.requests, counters.classes.of(4)), (2, 1));
        assert!((counters.latency.sum_s - 0.028).abs() < 1e-9);
        let phases = counters.phases.map(|(name, times)| (name, times.count));
        let expected = [
            ("queue", 2),
            ("preprocess", 2),
            ("infer", 2),
            ("postprocess", 1),
        ];
        assert_eq!(phases, expected);
    }
}
