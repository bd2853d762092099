//! What an operator of the cloud asked for in this session, being answered beside it.

use std::sync::Arc;

use millwright_proto::link::{HardExampleAnswer, HardExampleAsk, HardExampleRefusal};
use tokio::task::JoinSet;

use crate::hard_examples::answer::{Answers, refusal};

/// Asks being answered at once. Cloudcore asks one after the other; the second is for an operator who gave up on
/// the first.
const AT_ONCE_MAX: usize = 2;

/// Asks answered or refused at once: more than cloudcore sends to one session before it has an answer. What comes
/// beyond is left alone, and whoever asked hears that nothing came.
const WAITING_MAX: usize = 8;

/// Ends with the session: an answer belongs to nobody else.
pub(super) struct Asked {
    answers: Arc<Answers>,
    running: JoinSet<HardExampleAnswer>,
}

impl Asked {
    pub(super) fn new(answers: &Arc<Answers>) -> Self {
        Self {
            answers: Arc::clone(answers),
            running: JoinSet::new(),
        }
    }

    /// Begins to answer.
    pub(super) fn ask(&mut self, ask: HardExampleAsk) {
        if self.running.len() >= WAITING_MAX {
            tracing::warn!("cloudcore asks for more hard examples at once than it should");
            return;
        }
        if self.running.len() >= AT_ONCE_MAX {
            let busy = refusal(
                ask.id,
                HardExampleRefusal::Busy,
                "this node still answers what was asked before: try again in a minute".to_owned(),
            );
            self.running.spawn(async move { busy });
            return;
        }
        let answers = Arc::clone(&self.answers);
        self.running.spawn_blocking(move || answers.answer(&ask));
    }

    /// The next answer; `None` when nothing is asked. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<HardExampleAnswer> {
        // A panic has been reported by itself, and cloudcore stops waiting after a while.
        self.running.join_next().await?.ok()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answers.close();
    }
}
