//! The planner loop: look at everything, decide (fleet-core), write, tell the hub; again.
//!
//! It is woken by [`Signals::plan`] and by a timer that repairs a lost wake; it takes no hint about what
//! changed. A round that fails leaves nothing behind and is tried again. There is one planner per
//! store, so nobody else writes desired states, rollouts and statuses meanwhile.

mod facts;
mod pipelines;
mod statuses;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

pub(super) use self::facts::Damaged;
pub(super) use self::pipelines::pipeline_status;
pub(super) use self::statuses::{
    deployment_status, node_status, rollout_name, rollout_resource, rollout_status,
};

use super::execute::{self, ExecuteError};
use crate::signals::Signals;
use crate::store::{Store, StoreError};

/// How long a lost wake may go unnoticed. A round over an idle fleet only reads.
const REPAIR_AFTER: Duration = Duration::from_secs(15);

/// Least time between two rounds: reports of a wave that arrive together are planned for together.
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(50);

/// A round takes as long as the fleet is large, and ten thousand nodes that come back wake it all the time:
/// it rests this many times as long as it worked, so that it never holds more than a fifth of the writer.
const REST_PER_WORK: u32 = 4;

/// Longest such rest: a rollout goes on within seconds.
const REST_MAX: Duration = Duration::from_secs(3);

/// Pause after a round that failed, so that a full disk does not fill the log.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The store cannot be read.
    #[error("cannot read what to plan for tenant `{tenant}`")]
    Read {
        /// Whose.
        tenant: String,
        /// Why.
        source: StoreError,
    },
    /// The store holds what the planner cannot take.
    #[error("cannot plan for tenant `{tenant}`")]
    Facts {
        /// Whose.
        tenant: String,
        /// What.
        source: Damaged,
    },
    /// The plan cannot be written.
    #[error("cannot write the plan of tenant `{tenant}`")]
    Execute {
        /// Whose.
        tenant: String,
        /// Why.
        source: ExecuteError,
    },
}

/// The planner. Cheap to make; run one per store.
#[derive(Clone, Debug)]
pub(crate) struct Planner {
    store: Store,
    signals: Arc<Signals>,
    summary_window_ms: u32,
}

impl Planner {
    /// A planner that tells nodes to cut a window every `summary_window_ms`; 0 leaves it to them.
    pub(crate) fn new(store: Store, signals: Arc<Signals>, summary_window_ms: u32) -> Self {
        Self {
            store,
            signals,
            summary_window_ms,
        }
    }

    /// Plans until `shutdown` becomes true.
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let began = Instant::now();
            let pause = match self.round().await {
                Ok(()) => (began.elapsed() * REST_PER_WORK).clamp(PAUSE_BETWEEN_ROUNDS, REST_MAX),
                Err(fault) => {
                    let fault = anyhow::Error::new(fault);
                    tracing::error!("{fault:#}: trying again");
                    PAUSE_AFTER_FAILURE
                }
            };
            let wake = async {
                sleep(pause).await;
                // Both a wake and none for long mean the same: look again.
                let _ = timeout(REPAIR_AFTER, self.signals.plan.notified()).await;
            };
            tokio::select! {
                () = wake => {}
                _ = shutdown.wait_for(|ending| *ending) => return,
            }
        }
    }

    /// Plans once for every tenant.
    pub(crate) async fn round(&self) -> Result<(), PlanError> {
        let tenants = self.store.tenants().await;
        let tenants = tenants.map_err(|source| PlanError::Read {
            tenant: "*".to_owned(),
            source,
        })?;
        for tenant in tenants {
            self.plan(&tenant).await?;
        }
        Ok(())
    }

    async fn plan(&self, tenant: &str) -> Result<(), PlanError> {
        let owner = || tenant.to_owned();
        let rows = self.store.planning_rows(tenant).await;
        let rows = rows.map_err(|source| PlanError::Read {
            tenant: owner(),
            source,
        })?;
        let facts = facts::gather(&rows, self.summary_window_ms);
        let facts = facts.map_err(|source| PlanError::Facts {
            tenant: owner(),
            source,
        })?;
        let now = Timestamp::now();
        let plan = fleet_core::plan(&facts.snapshot, now.as_millisecond());
        if plan.is_empty() {
            return Ok(());
        }
        execute::execute(&self.store, tenant, &plan, &facts.parts, now)
            .await
            .map_err(|source| PlanError::Execute {
                tenant: owner(),
                source,
            })?;
        for (node, desired) in &plan.desired {
            let generation = desired.generation;
            tracing::info!(%node, %generation, "desired state planned");
            self.signals.desired_changed(desired.uid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
