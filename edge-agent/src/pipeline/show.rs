//! What the agent's own page is told of one pipeline.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use edge_vision::{Decoded, Quality};

use super::gauge::PipelineFacts;
use crate::camera_page::board::{About, Board, Rates, Shown};
use crate::worker::InferOutput;

/// Tells the page.
#[derive(Clone, Debug)]
pub(super) struct Show {
    board: Board,
    pipeline: String,
}

impl Show {
    pub(super) fn new(board: Board, pipeline: &str) -> Self {
        let pipeline = pipeline.to_owned();
        Self { board, pipeline }
    }

    /// Whether somebody would look at a picture now.
    pub(super) fn wants_picture(&self) -> bool {
        self.board.wants_picture(&self.pipeline)
    }

    pub(super) fn answer(
        &self,
        output: &InferOutput,
        decoded: Option<Arc<Decoded>>,
        drawn: Option<Bytes>,
        latency: Duration,
        quality: Option<Quality>,
    ) {
        let shown = Shown {
            jpeg: drawn.unwrap_or_default(),
            decoded: decoded.unwrap_or_default(),
            taken_at: SystemTime::now()
                .checked_sub(latency)
                .unwrap_or(SystemTime::UNIX_EPOCH),
        };
        self.board.publish(&self.pipeline, shown);
        let about = About {
            model: format!("{} {}", output.model.model, output.model.version),
            latency: Some(latency),
            quality,
        };
        self.board.about(&self.pipeline, about);
    }

    pub(super) fn rates(&self, facts: &PipelineFacts) {
        let state = match facts.reason.as_str() {
            "" => facts.state.clone(),
            reason => reason.to_owned(),
        };
        let rates = Rates {
            received: facts.received,
            dropped: facts.dropped,
            answered: facts.answered,
            failed: facts.failed,
            state,
        };
        self.board.rates(&self.pipeline, rates);
    }

    /// The pipeline is gone.
    pub(super) fn end(&self) {
        self.board.remove(&self.pipeline);
    }
}
