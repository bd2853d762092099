//! Whether the model is there and takes what the pipeline makes, for whoever looks before an input comes.

use super::super::gauge::Part;
use super::super::prepare::{Taker, fits};
use super::Runner;
use crate::worker::Worker;

impl Runner {
    /// Whether the model has a ready worker; that is told, and whether inputs will fit it.
    pub(super) fn model_is_ready(&mut self) -> bool {
        match self.models.find(&self.pipeline.spec.model, None) {
            Ok(worker) => {
                self.gauge.well(Part::Model);
                self.look_at(&worker);
                true
            }
            Err(error) => {
                self.gauge.trouble(Part::Model, &error.to_string());
                false
            }
        }
    }

    /// Tells whether inputs will fit, once for each version: what comes of real ones is told later.
    fn look_at(&mut self, worker: &Worker) {
        if self.looked_at.as_ref() == Some(worker.model()) {
            return;
        }
        self.looked_at = Some(worker.model().clone());
        let taker = Taker {
            manifest: &worker.spec().manifest,
            profile: self.profiles.of_package(worker),
        };
        match fits(&self.pipeline, taker) {
            Err(error) if error.is_misfit() => self.gauge.trouble(Part::Fit, &error.to_string()),
            Ok(()) | Err(_) => self.gauge.well(Part::Fit),
        }
    }
}
