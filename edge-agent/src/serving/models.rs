//! The active version of each model, and the way of every request to its worker.
//!
//! A switch is one atomic store: requests that began before finish on the old worker, which they hold;
//! requests that begin after go to the new one. The replaced worker stays a fallback for as long as
//! somebody keeps it: if the active worker dies under a request, the request is tried once more there.

mod answer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use edge_core::summary::{InputSample, Quality};
use millwright_package::Profile;
use millwright_proto::ids::{ModelName, ModelVersion, Version};
use millwright_summary::ErrorClass;

use super::statistics::Statistics;
use crate::telemetry::{Outcome, Recorder, baseline};
use crate::worker::{InferError, InferInput, InferOutput, Worker};
use answer::Pending;
pub use answer::{Answer, Decoded};

/// The active models of this node. A cheap handle.
#[derive(Clone, Debug)]
pub struct ActiveModels {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Read by every request, replaced as a whole by every change.
    table: ArcSwap<Table>,
    /// Makes changes one after another. Owner: whoever changes the table, for the length of one change.
    change: Mutex<()>,
    recorder: Recorder,
    statistics: Statistics,
}

#[derive(Clone, Debug, Default)]
struct Table {
    active: BTreeMap<ModelName, Active>,
    expected: BTreeSet<ModelName>,
}

#[derive(Clone, Debug)]
struct Active {
    worker: Arc<Worker>,
    /// The worker this one replaced.
    replaced: Weak<Worker>,
    /// What its inputs are compared with.
    profile: Option<Arc<Profile>>,
}

/// Whether every model that should answer can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All of them, also when there are none.
    Ready,
    /// These have no ready worker.
    Waiting(Vec<ModelName>),
}

impl ActiveModels {
    /// No active model, none expected. Every request is counted in `recorder`.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: ArcSwap::default(),
                change: Mutex::new(()),
                recorder,
                statistics: Statistics::default(),
            }),
        }
    }

    /// Lets `worker` answer the requests of its model from now on. Returns the worker it replaces; as long
    /// as the caller keeps that, it is the fallback of the new one.
    pub fn activate(&self, worker: Arc<Worker>) -> Option<Arc<Worker>> {
        let name = worker.model().model.clone();
        let profile = profile(&worker);
        let recorder = &self.shared.recorder;
        recorder.baseline(worker.model(), profile.clone());
        let version = worker.model().clone();
        let before = self.change(|table| {
            let before = table.active.remove(&name).map(|active| active.worker);
            let replaced = before.as_ref().map_or_else(Weak::new, Arc::downgrade);
            let active = Active {
                worker,
                replaced,
                profile,
            };
            table.active.insert(name, active);
            before
        });
        if let Some(before) = before.as_ref().filter(|before| *before.model() != version) {
            recorder.baseline(before.model(), None);
        }
        before
    }

    /// Takes a model out. Requests in flight finish; the returned worker ends when its last handle goes.
    pub fn deactivate(&self, model: &ModelName) -> Option<Arc<Worker>> {
        let before = self.change(|table| table.active.remove(model).map(|active| active.worker));
        if let Some(before) = &before {
            self.shared.recorder.baseline(before.model(), None);
        }
        before
    }

    /// Takes `worker` out, if it is the one that answers: it is about to end.
    pub fn forget(&self, worker: &Arc<Worker>) {
        self.change(|table| {
            let answers = |_: &ModelName, active: &mut Active| !Arc::ptr_eq(&active.worker, worker);
            table.active.retain(answers);
        });
    }

    /// Says which models should answer requests; readiness is judged by it.
    pub fn expect(&self, models: BTreeSet<ModelName>) {
        self.change(|table| table.expected = models);
    }

    /// Whether every expected model has a ready worker.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let table = self.shared.table.load();
        let waiting: Vec<ModelName> = table
            .expected
            .iter()
            .filter(|model| self.ready(model).is_none())
            .cloned()
            .collect();
        if waiting.is_empty() {
            Readiness::Ready
        } else {
            Readiness::Waiting(waiting)
        }
    }

    /// The worker that would answer a request of `model` now.
    #[must_use]
    pub fn ready(&self, model: &ModelName) -> Option<Arc<Worker>> {
        let table = self.shared.table.load();
        let active = table.active.get(model)?;
        if !active.worker.has_ended() {
            return Some(Arc::clone(&active.worker));
        }
        active
            .replaced
            .upgrade()
            .filter(|worker| !worker.has_ended())
    }

    /// Every model that is active or should be.
    #[must_use]
    pub fn names(&self) -> BTreeSet<ModelName> {
        let table = self.shared.table.load();
        table
            .active
            .keys()
            .chain(&table.expected)
            .cloned()
            .collect()
    }

    /// Whether `model` should answer requests.
    #[must_use]
    pub fn expects(&self, model: &ModelName) -> bool {
        self.shared.table.load().expected.contains(model)
    }

    /// What happened to each version since the agent started.
    pub(super) fn statistics(&self) -> &Statistics {
        &self.shared.statistics
    }

    /// Every active worker, by model.
    #[must_use]
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        let table = self.shared.table.load();
        table
            .active
            .values()
            .map(|active| Arc::clone(&active.worker))
            .collect()
    }

    /// The worker for a request of `model`, in `version` if one is asked for.
    ///
    /// # Errors
    /// [`InferError`] says whether the model is unknown here or has no ready worker.
    pub fn find(
        &self,
        model: &ModelName,
        version: Option<&Version>,
    ) -> Result<Arc<Worker>, InferError> {
        let Some(worker) = self.ready(model) else {
            let table = self.shared.table.load();
            let known = table.active.contains_key(model) || table.expected.contains(model);
            return Err(if known {
                InferError::NotReady(model.clone())
            } else {
                InferError::UnknownModel(model.clone())
            });
        };
        match version {
            Some(version) if *version != worker.model().version => {
                Err(InferError::UnknownVersion {
                    model: model.clone(),
                    version: version.clone(),
                    active: worker.model().version.clone(),
                })
            }
            Some(_) | None => Ok(worker),
        }
    }

    /// Answers one request, counts it and times it. If its worker dies under it, it is tried once more on
    /// another ready worker of the model. A request of a running sequence stays on the worker that began it, also when
    /// another version has become active: only that worker knows what came before.
    ///
    /// # Errors
    /// [`InferError`] says whether the request, the model or the worker is at fault.
    pub async fn infer(
        &self,
        model: &ModelName,
        version: Option<&Version>,
        input: &InferInput,
    ) -> Result<InferOutput, InferError> {
        let answer = self
            .infer_observed(model, version, input, Duration::ZERO)
            .await?;
        Ok(answer.into_output())
    }

    /// As [`ActiveModels::infer`], for a caller that makes tensors of something and something of tensors: it says how
    /// long the first took, and tells [`Answer::decoded`] of the second. The request is counted then, or when the answer
    /// is dropped.
    ///
    /// # Errors
    /// As [`ActiveModels::infer`].
    pub async fn infer_observed(
        &self,
        model: &ModelName,
        version: Option<&Version>,
        input: &InferInput,
        preprocess: Duration,
    ) -> Result<Answer, InferError> {
        let began = Instant::now();
        let worker = match self.find(model, version) {
            Ok(worker) => worker,
            Err(error) => {
                self.record_unanswered(model, &error);
                return Err(error);
            }
        };
        let worker = self.pinned(model, input).unwrap_or(worker);
        let mut result = worker.infer(input).await;
        let mut answered_by = worker;
        if let Err(InferError::WorkerEnded(_)) = result
            && input
                .sequence
                .as_ref()
                .is_none_or(|sequence| sequence.start)
            && let Ok(other) = self.find(model, version)
            && !Arc::ptr_eq(&other, &answered_by)
        {
            result = other.infer(input).await;
            answered_by = other;
        }
        let elapsed = began.elapsed();
        let statistics = &self.shared.statistics;
        statistics.note(answered_by.model(), &result, elapsed);
        let recorder = &self.shared.recorder;
        match result {
            Ok(output) => {
                self.look_at(&answered_by, input);
                let latency = elapsed + preprocess;
                let pending = Pending::new(recorder.clone(), &output, preprocess, latency);
                Ok(Answer::new(output, pending))
            }
            Err(error) => {
                recorder.request(answered_by.model(), Outcome::Failed(error.class()));
                Err(error)
            }
        }
    }

    /// Counts the features in the tensor that the model's profile names.
    fn look_at(&self, worker: &Worker, input: &InferInput) {
        let table = self.shared.table.load();
        let active = table.active.get(&worker.model().model);
        let active = active.filter(|active| active.worker.model() == worker.model());
        if let Some(profile) = active.and_then(|active| active.profile.as_deref()) {
            let recorder = &self.shared.recorder;
            baseline::rows(profile, input, |row| {
                recorder.input(worker.model(), InputSample::Features(row));
            });
        }
    }

    /// Counts how good a picture was of which `model` was asked.
    pub fn look_at_picture(&self, model: &ModelVersion, quality: edge_vision::Quality) {
        let quality = Quality {
            brightness: quality.brightness.into(),
            contrast: quality.contrast.into(),
            sharpness: quality.sharpness.into(),
        };
        let recorder = &self.shared.recorder;
        recorder.input(model, InputSample::Image(quality));
    }

    /// Counts rows as they came from sensors, of which `model` was asked: the features of a profile that names no tensor.
    pub fn look_at_rows<'r>(&self, model: &ModelVersion, rows: impl Iterator<Item = &'r [f64]>) {
        let table = self.shared.table.load();
        let active = table.active.get(&model.model);
        let active = active.filter(|active| active.worker.model() == model);
        let profile = active.and_then(|active| active.profile.as_deref());
        if profile.is_some_and(|profile| profile.input().is_none()) {
            let recorder = &self.shared.recorder;
            rows.for_each(|row| recorder.input(model, InputSample::Features(row)));
        }
    }

    /// Whether inputs or outputs of `model` are no longer what its profile says.
    pub fn drifts(&self, model: &ModelVersion) -> bool {
        self.shared.recorder.drifts(model)
    }

    /// The replaced worker, for a request that goes on with a sequence which began there.
    fn pinned(&self, model: &ModelName, input: &InferInput) -> Option<Arc<Worker>> {
        let sequence = input.sequence.as_ref().filter(|sequence| !sequence.start)?;
        let table = self.shared.table.load();
        let active = table.active.get(model)?;
        if active.worker.knows(&sequence.id) {
            return None;
        }
        let replaced = active.replaced.upgrade()?;
        (replaced.knows(&sequence.id) && !replaced.has_ended()).then_some(replaced)
    }

    /// Counts a request that was refused before it came to a worker.
    pub fn count_refused(&self, model: &ModelVersion, class: ErrorClass) {
        self.shared.recorder.request(model, Outcome::Failed(class));
    }

    /// A request of a model that has an active version but no ready worker is that version's failure.
    /// One of an unknown model is nobody's: a client can make up any number of names.
    fn record_unanswered(&self, model: &ModelName, error: &InferError) {
        let table = self.shared.table.load();
        if let Some(active) = table.active.get(model) {
            let version: &ModelVersion = active.worker.model();
            self.shared
                .recorder
                .request(version, Outcome::Failed(error.class()));
        }
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Table) -> T) -> T {
        let _one_at_a_time: MutexGuard<'_, ()> = self
            .shared
            .change
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.shared.table.load());
        let result = edit(&mut table);
        self.shared.table.store(Arc::new(table));
        result
    }
}

/// The profile of a worker's package. Without one the model runs all the same; nobody can say whether it drifts.
fn profile(worker: &Worker) -> Option<Arc<Profile>> {
    let spec = worker.spec();
    match baseline::load(&spec.directory, &spec.manifest) {
        Ok(profile) => profile,
        Err(error) => {
            let why = crate::control::chain(&error);
            tracing::warn!(model = %spec.model, "drift of this model cannot be told: {why}");
            None
        }
    }
}
