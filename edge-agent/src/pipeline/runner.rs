//! Gives inputs to the model, one after another, and results to the sinks.
//!
//! A model without a ready worker is waited for. An input whose worker died is tried once more; so is one that was
//! made for a version that was replaced before it was asked. An input that kills its worker twice is given up.

mod again;
mod look;
mod profile;
mod result;
mod shadow;

use std::sync::Arc;
use std::time::Duration;

use edge_vision::Region;
use millwright_pipeline::{Pipeline, Policy};
use millwright_proto::ids::ModelVersion;
use tokio::sync::watch;
use tokio::time::Instant;

use super::gauge::{Count, Gauge, Part};
use super::item::{Content, Fate, Item};
use super::message::Echo;
use super::prepare::{Preparation, PrepareError, Prepared, Taker};
use super::queue::Queue;
use super::show::Show;
use super::sinks::Sinks;
use super::stopped;
use crate::serving::models::{self, ActiveModels};
use crate::worker::{InferError, Worker};
use again::is_final;
use profile::Profiles;
use shadow::Shadow;

/// Time between two tries while a model has no ready worker. Loading one takes about a second.
const READY_RETRY: Duration = Duration::from_millis(200);

/// Time between two looks at whether the model is there while no input comes.
const MODEL_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tries of an input that was made for a version that has been replaced meanwhile. Swaps are minutes apart.
const SWAPPED_TRIES_MAX: u32 = 3;

/// Good for people, and a fifth of the bytes of a perfect one.
const JPEG_QUALITY: u8 = 80;

/// Runs one pipeline's model.
pub(super) struct Runner {
    pipeline: Pipeline,
    preparation: Arc<Preparation>,
    profiles: Profiles,
    mask: Arc<Vec<Region>>,
    models: ActiveModels,
    /// The version that inputs were last held against.
    looked_at: Option<ModelVersion>,
    queue: Queue<Item>,
    gauge: Gauge,
    shadow: Option<Shadow>,
    sinks: Sinks,
    show: Show,
    stop: watch::Receiver<bool>,
}

/// Why an input was not answered.
struct Failure {
    class: &'static str,
    message: String,
    echo: Option<Echo>,
}

/// An input that was answered.
struct Answered {
    prepared: Prepared,
    answer: models::Answer,
}

impl Runner {
    pub(super) fn new(
        pipeline: &Pipeline,
        (queue, gauge): (Queue<Item>, Gauge),
        (models, sinks, show): (ActiveModels, Sinks, Show),
        stop: watch::Receiver<bool>,
    ) -> Self {
        let preparation = Arc::new(Preparation::of(pipeline));
        Self {
            profiles: Profiles::of(&preparation),
            preparation,
            mask: Arc::new(pipeline.spec.mask.clone()),
            shadow: Shadow::of(pipeline, &models, &gauge),
            pipeline: pipeline.clone(),
            models,
            looked_at: None,
            queue,
            gauge,
            sinks,
            show,
            stop,
        }
    }

    /// Until it is told to stop; the input in progress is finished.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        self.model_is_ready();
        loop {
            // Where old inputs give way to new ones, none is taken before it can be answered.
            if self.pipeline.policy() != Policy::Block && !self.ready().await {
                return;
            }
            let item = loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => return,
                    disputed = shadow::disputed(&mut self.shadow) => {
                        self.sinks.keep_disputed(&disputed);
                    }
                    item = self.queue.take() => break item,
                    () = tokio::time::sleep(MODEL_LOOK_EVERY) => {}
                }
                // For whoever looks at the pipeline before an input comes.
                self.model_is_ready();
            };
            if item.receipts.are_current() {
                self.handle(item).await;
            }
        }
    }

    /// Waits until the model has a ready worker; `false` when the agent ends first.
    async fn ready(&mut self) -> bool {
        while !self.model_is_ready() {
            if !self.pause().await {
                return false;
            }
        }
        true
    }

    /// Waits a little; `false` when the agent ends.
    async fn pause(&mut self) -> bool {
        tokio::select! {
            () = stopped(&mut self.stop) => false,
            () = tokio::time::sleep(READY_RETRY) => true,
        }
    }

    async fn handle(&mut self, item: Item) {
        // Not settled, it comes again.
        let Some(answered) = self.answer(&item).await else {
            return;
        };
        let Item {
            content,
            echo,
            received,
            receipts,
        } = item;
        let shadow = self.shadow.as_ref();
        let glimpse = shadow.and_then(|shadow| shadow.glimpse(&answered.as_ref().ok()?.prepared));
        let outcome = match answered {
            Ok(answered) => self.outcome(content, &echo, received, answered).await,
            Err(failure) => self.failure(content, &echo, &failure),
        };
        let fate = match &outcome.answer {
            Some(_) => Fate::Answered,
            None => Fate::Failed,
        };
        self.gauge.count(match fate {
            Fate::Answered => Count::Answered,
            Fate::Failed | Fate::Dropped => Count::Failed,
        });
        if let (Some(shadow), Some(glimpse)) = (&mut self.shadow, glimpse) {
            shadow.ask(glimpse, &outcome);
        }
        self.sinks.deliver(outcome).await;
        receipts.settle(fate).await;
    }

    /// What the model says; `None` when the input should come again.
    async fn answer(&mut self, item: &Item) -> Option<Result<Answered, Failure>> {
        let mut deadly_tries = 0;
        let mut swapped_tries = 0;
        loop {
            let error = match self.models.find(&self.pipeline.spec.model, None) {
                Ok(worker) => {
                    self.gauge.well(Part::Model);
                    let began = Instant::now();
                    let prepared = match self.prepare(&item.content, &worker).await {
                        Ok(prepared) => prepared,
                        Err(failure) => return Some(Err(failure)),
                    };
                    match self.ask(&prepared, began.elapsed()).await {
                        Ok(answer) => return Some(Ok(Answered { prepared, answer })),
                        Err(error) => {
                            let swapped = self.is_other_now(&worker);
                            swapped_tries += u32::from(swapped);
                            let again = swapped && swapped_tries < SWAPPED_TRIES_MAX;
                            if !again && is_final(&error, &mut deadly_tries) {
                                return Some(Err(Failure {
                                    class: error.class().as_str(),
                                    message: error.to_string(),
                                    echo: prepared.echo,
                                }));
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            if matches!(error, InferError::NotReady(_) | InferError::UnknownModel(_)) {
                self.gauge.trouble(Part::Model, &error.to_string());
            }
            tracing::debug!(pipeline = %self.pipeline.name(), "an input waits: {error}");
            if !self.pause().await || !item.receipts.are_current() {
                return None;
            }
        }
    }

    /// One request, which is counted when its answer is decoded.
    async fn ask(
        &self,
        prepared: &Prepared,
        preprocess: Duration,
    ) -> Result<models::Answer, InferError> {
        let asked = self.models.infer_observed(
            &self.pipeline.spec.model,
            None,
            &prepared.input,
            preprocess,
        );
        let answer = asked.await?;
        if let Some(picture) = &prepared.picture {
            self.models
                .look_at_picture(&answer.output().model, picture.quality);
        }
        if let Some(rows) = &prepared.rows {
            self.models
                .look_at_rows(&answer.output().model, rows.iter());
        }
        Ok(answer)
    }

    /// Whether another version answers now than the one an input was made for.
    fn is_other_now(&self, worker: &Arc<Worker>) -> bool {
        let now = self.models.find(&self.pipeline.spec.model, None);
        now.is_ok_and(|now| now.model() != worker.model())
    }

    async fn prepare(
        &mut self,
        content: &Content,
        worker: &Arc<Worker>,
    ) -> Result<Prepared, Failure> {
        let prepared = match content {
            Content::Picture(bytes) => {
                let (preparation, mask) = (Arc::clone(&self.preparation), Arc::clone(&self.mask));
                let (worker, content) = (Arc::clone(worker), Content::Picture(bytes.clone()));
                // Milliseconds of computing, which must not hold up who waits for the network.
                let work = tokio::task::spawn_blocking(move || {
                    let taker = Taker {
                        manifest: &worker.spec().manifest,
                        profile: None,
                    };
                    let mut prepared = preparation.prepare(&content, taker)?;
                    if let Some(picture) = &mut prepared.picture {
                        picture.frame.mask(&mask);
                    }
                    Ok(prepared)
                });
                work.await.unwrap_or_else(|error| {
                    let problem = format!("preprocessing ended badly: {error}");
                    Err((PrepareError::Unreadable(problem), None))
                })
            }
            Content::Message(_)
            | Content::Elements(..)
            | Content::Rows(_)
            | Content::Unreadable(_) => {
                let taker = Taker {
                    manifest: &worker.spec().manifest,
                    profile: self.profiles.of_package(worker),
                };
                self.preparation.prepare(content, taker)
            }
        };
        prepared
            .inspect(|_| self.gauge.well(Part::Fit))
            .map_err(|(error, echo)| {
                if error.is_misfit() {
                    self.gauge.trouble(Part::Fit, &error.to_string());
                }
                Failure {
                    class: "message",
                    message: error.to_string(),
                    echo,
                }
            })
    }
}
