//! What both protocols do with a request, once they have read it.

use std::sync::Arc;
use std::time::Duration;

use millwright_proto::ids::{ModelName, Version};
use millwright_summary::ErrorClass;

use super::budget::BodyBudget;
use super::classes;
use super::fault::{Fault, Kind};
use super::models::ActiveModels;
use super::repository::Repository;
use super::tensors::{Question, RequestError};
use crate::telemetry::Recorder;
use crate::worker::{InferOutput, Worker};

/// What every route knows. A cheap handle.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) models: ActiveModels,
    pub(super) recorder: Recorder,
    pub(super) repository: Repository,
    pub(super) budget: Arc<BodyBudget>,
}

/// The model and version a request names.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) model: ModelName,
    pub(super) version: Option<Version>,
}

impl Target {
    /// An empty version stands for none.
    pub(super) fn parse(model: &str, version: &str) -> Result<Self, Fault> {
        let unknown =
            |what: &str| Fault::new(Kind::Unknown, format!("no {what} can have this name"));
        let model = model.parse().map_err(|_| unknown("model"))?;
        let version = match version {
            "" => None,
            version => Some(version.parse().map_err(|_| unknown("version"))?),
        };
        Ok(Self { model, version })
    }
}

impl Endpoint {
    pub(super) fn new(models: ActiveModels, recorder: Recorder, repository: Repository) -> Self {
        Self {
            models,
            recorder,
            repository,
            budget: Arc::new(BodyBudget::default()),
        }
    }

    /// The worker that would answer.
    pub(super) fn find(&self, target: &Target) -> Result<Arc<Worker>, Fault> {
        Ok(self.models.find(&target.model, target.version.as_ref())?)
    }

    /// Answers one request, within the time its client gives it.
    pub(super) async fn answer(
        &self,
        target: &Target,
        question: &Question,
    ) -> Result<InferOutput, Fault> {
        let models = &self.models;
        let asked = models.infer(&target.model, target.version.as_ref(), &question.input);
        let mut output = match question.limit {
            None => asked.await?,
            Some(limit) => match tokio::time::timeout(limit, asked).await {
                Ok(answered) => answered?,
                Err(_) => return Err(self.too_slow(target, limit)),
            },
        };
        for (tensor, &count) in output.tensors.iter_mut().zip(&question.classes) {
            if count > 0 {
                let best = classes::best(tensor, count);
                *tensor = best.ok_or_else(|| RequestError::NoScores(tensor.name.clone()))?;
            }
        }
        Ok(output)
    }

    /// A body that was no request is counted as its model's failure, where it says what was wrong with its tensors.
    pub(super) fn refuse(&self, target: &Target, error: RequestError) -> Fault {
        if let (Some(class), Some(worker)) = (error.class(), self.models.ready(&target.model)) {
            self.models.count_refused(worker.model(), class);
        }
        error.into()
    }

    fn too_slow(&self, target: &Target, limit: Duration) -> Fault {
        if let Some(worker) = self.models.ready(&target.model) {
            self.models
                .count_refused(worker.model(), ErrorClass::Timeout);
        }
        let message = format!(
            "model `{}` did not answer within the {} ms that the request gives it",
            target.model,
            limit.as_millis()
        );
        Fault::new(Kind::TooSlow, message)
    }
}
