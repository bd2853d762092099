//! Which models somebody wants examples of, and why: whoever sees drift or a shadow version that disagrees says so here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millwright_proto::ids::ModelName;

use crate::hard_examples::Reason;

/// Models somebody wants examples of. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Bounded by the models of the node. Held for one look or change.
    wanted: Arc<Mutex<BTreeMap<ModelName, Reason>>>,
}

impl Interest {
    /// The inputs of `model` drift, or a shadow version disagrees on them, until [`Self::end`].
    pub fn begin(&self, model: &ModelName, reason: Reason) {
        self.lock().insert(model.clone(), reason);
    }

    /// They do not any more.
    pub fn end(&self, model: &ModelName) {
        self.lock().remove(model);
    }

    /// Why somebody wants examples of `model`.
    #[must_use]
    pub fn of(&self, model: &ModelName) -> Option<Reason> {
        self.lock().get(model).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelName, Reason>> {
        // Nothing panics while it is held.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
