//! The baseline profile of the package that a worker holds, read once for each version.

use std::sync::Arc;

use millwright_package::Profile;
use millwright_proto::ids::ModelVersion;

use crate::pipeline::prepare::Preparation;
use crate::telemetry::baseline;
use crate::worker::Worker;

/// The profile of the version asked last.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    wanted: bool,
    last: Option<(ModelVersion, Option<Arc<Profile>>)>,
}

impl Profiles {
    /// Nothing is read for a pipeline that does not look at it.
    pub(super) fn of(preparation: &Preparation) -> Self {
        Self {
            wanted: preparation.scales_by_profile(),
            last: None,
        }
    }

    /// The profile of the package of `worker`; `None`: it has none, or none that can be read, of which the log tells since
    /// the version is active.
    pub(super) fn of_package(&mut self, worker: &Worker) -> Option<&Profile> {
        let known = |(model, _): &(ModelVersion, _)| model == worker.model();
        if self.wanted && !self.last.as_ref().is_some_and(known) {
            let spec = worker.spec();
            let profile = baseline::load(&spec.directory, &spec.manifest);
            self.last = Some((spec.model.clone(), profile.ok().flatten()));
        }
        self.last.as_ref()?.1.as_deref()
    }
}
