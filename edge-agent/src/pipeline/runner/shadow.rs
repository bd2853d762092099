//! A second model that sees some of the inputs, beside the one that answers: whether it agrees is counted, and inputs on
//! which it does not come back to be kept. It holds up nobody: one input is with it at a time, and what comes meanwhile it
//! does not see.

use std::time::Duration;

use edge_vision::{Decode, Decoded, Placement};
use millwright_pipeline::Pipeline;
use millwright_proto::ids::{ModelName, ModelVersion};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::gauge::{Count, Gauge};
use super::super::outcome::{self, Outcome};
use super::super::prepare::Prepared;
use super::result::named;
use crate::serving::models::{self, ActiveModels};
use crate::worker::InferInput;

/// See the module.
pub(super) struct Shadow {
    model: ModelName,
    every: Duration,
    decode: Decode,
    models: ActiveModels,
    gauge: Gauge,
    /// It sees nothing before.
    free_at: Instant,
    /// At most one.
    asked: JoinSet<Compared>,
}

/// What it is to see.
pub(super) struct Glimpse {
    input: InferInput,
    placement: Option<Placement>,
}

/// What came of it.
enum Compared {
    Agreed,
    Disagreed(Box<Outcome>),
    Unanswered(String),
}

impl Shadow {
    /// That of `pipeline`, if it has one.
    pub(super) fn of(pipeline: &Pipeline, models: &ActiveModels, gauge: &Gauge) -> Option<Self> {
        let shadow = pipeline.spec.shadow.as_ref()?;
        Some(Self {
            model: shadow.model.clone(),
            every: Duration::from_millis(shadow.every_ms.into()),
            decode: pipeline.spec.decode.clone()?,
            models: models.clone(),
            gauge: gauge.clone(),
            free_at: Instant::now(),
            asked: JoinSet::new(),
        })
    }

    /// What it would see of an input; `None` when it is not its turn.
    pub(super) fn glimpse(&self, prepared: &Prepared) -> Option<Glimpse> {
        let is_free = self.asked.is_empty() && Instant::now() >= self.free_at;
        is_free.then(|| Glimpse {
            input: prepared.input.clone(),
            placement: prepared.picture.as_ref().map(|p| p.placement),
        })
    }

    /// Asks it, and compares with what was said; with nothing said there is nothing to compare.
    pub(super) fn ask(&mut self, glimpse: Glimpse, outcome: &Outcome) {
        let answer = outcome.answer.as_ref();
        let Some(own) = answer.and_then(|answer| answer.decoded.clone()) else {
            return;
        };
        self.free_at = Instant::now() + self.every;
        let (models, model) = (self.models.clone(), self.model.clone());
        let (decode, outcome) = (self.decode.clone(), outcome.clone());
        self.asked.spawn(async move {
            match answer_of(&models, &model, &decode, &glimpse).await {
                Ok((_, said)) if own.agrees_with(&said) => Compared::Agreed,
                Ok((model, said)) => {
                    let json = outcome::with_shadow(&outcome.json, &model, &said);
                    Compared::Disagreed(Box::new(Outcome { json, ..outcome }))
                }
                Err(problem) => Compared::Unanswered(problem),
            }
        });
    }

    /// The next input on which it disagreed. Safe to cancel.
    pub(super) async fn disputed(&mut self) -> Outcome {
        loop {
            match self.asked.join_next().await {
                Some(Ok(Compared::Agreed)) => self.gauge.shadow_answered(),
                Some(Ok(Compared::Disagreed(outcome))) => {
                    self.gauge.shadow_answered();
                    self.gauge.count(Count::Disagreed);
                    return *outcome;
                }
                Some(Ok(Compared::Unanswered(problem))) => self.gauge.shadow_missed(&problem),
                Some(Err(panic)) => self.gauge.shadow_missed(&panic.to_string()),
                None => std::future::pending().await,
            }
        }
    }
}

/// Of a pipeline with or without one; never, without.
pub(super) async fn disputed(shadow: &mut Option<Shadow>) -> Outcome {
    match shadow {
        Some(shadow) => shadow.disputed().await,
        None => std::future::pending().await,
    }
}

/// What the shadow says, and in which version.
async fn answer_of(
    models: &ActiveModels,
    model: &ModelName,
    decode: &Decode,
    glimpse: &Glimpse,
) -> Result<(ModelVersion, Decoded), String> {
    let asked = models.infer_observed(model, None, &glimpse.input, Duration::ZERO);
    let answer = asked.await.map_err(|error| error.to_string())?;
    let began = Instant::now();
    let said = decode.apply(&named(answer.output()), glimpse.placement.as_ref());
    let said = said.map_err(|error| error.to_string())?;
    let output = answer.decoded(models::Decoded {
        postprocess: began.elapsed(),
        confidence: said.confidence(),
        class: outcome::class(&said),
    });
    Ok((output.model, said))
}
