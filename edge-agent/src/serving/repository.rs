//! Triton's model repository, for engineers at the box: which models are here, and loading and unloading them.
//!
//! Only from this machine, and only where the agent runs a package of its owner's (`run --model`): what a fleet wants is
//! decided in the cloud, where it is audited, and an agent that went its own way would be put right at the next reconcile.
//! A browser's request is refused, because any page it shows could send one.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use millwright_proto::ids::ModelName;
use tokio::sync::{mpsc, oneshot};

use super::connections::Peer;
use super::endpoint::Endpoint;
use super::fault::{Fault, Kind};
use super::grpc::wire;
use super::models::ActiveModels;

/// Longest load or unload: starting a worker, its golden set, or draining one.
const ORDER_LIMIT: Duration = Duration::from_secs(120);

/// Orders waiting for the one before them. An engineer types one at a time.
const ORDERS_WAITING_MAX: usize = 4;

/// Who decides which models are loaded. A cheap handle.
#[derive(Clone, Debug)]
pub enum Repository {
    /// The cloud.
    Fleet,
    /// Whoever sits at the box; there is this one model.
    Own {
        /// Its name.
        model: ModelName,
        /// To whoever carries orders out.
        orders: mpsc::Sender<Order>,
    },
}

/// What an engineer wants of the model.
#[derive(Debug)]
pub struct Order {
    /// What is to be done.
    pub wanted: Wanted,
    /// Told once it is done, or why it cannot be.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Read the package again, and serve what is in it now.
    Load,
    /// Serve it no longer.
    Unload,
}

impl Repository {
    /// A repository of one model, and the orders that come for it.
    #[must_use]
    pub fn own(model: ModelName) -> (Self, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(ORDERS_WAITING_MAX);
        (Self::Own { model, orders }, received)
    }

    /// Carries out an order and waits for it.
    pub(super) async fn order(&self, model: &str, wanted: Wanted) -> Result<(), Fault> {
        let Self::Own { model: own, orders } = self else {
            let message = format!(
                "the fleet decides which models this node serves: change the deployment of `{model}` where the fleet is operated, \
                 with `fleetctl apply` or `fleetctl delete modeldeployments`, or use `edge-agent hold` to keep this node as it is"
            );
            return Err(Fault::new(Kind::Elsewhere, message));
        };
        if model != own.as_str() {
            let message =
                format!("this agent was started with `{own}` and knows no model `{model}`");
            return Err(Fault::new(Kind::Unknown, message));
        }
        let (done, told) = oneshot::channel();
        let busy = "another load or unload is under way: try again when it is done";
        orders
            .try_send(Order { wanted, done })
            .map_err(|_| Fault::new(Kind::Busy, busy))?;
        match tokio::time::timeout(ORDER_LIMIT, told).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(problem))) => Err(Fault::new(Kind::Invalid, problem)),
            Ok(Err(_)) => Err(Fault::new(Kind::NotReady, "the agent is ending")),
            Err(_) => {
                let message =
                    format!("it takes longer than {ORDER_LIMIT:?}; it goes on all the same");
                Err(Fault::new(Kind::TooSlow, message))
            }
        }
    }

    /// Triton lets a load bring another configuration or files; here a package is what its directory holds.
    pub(super) fn check_parameters<'a>(
        mut names: impl Iterator<Item = &'a str>,
    ) -> Result<(), Fault> {
        match names.next() {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "the parameter `{name}` is not supported: change the package in its directory, then load it"
                );
                Err(Fault::new(Kind::Invalid, message))
            }
        }
    }

    /// Every model there is here, by name.
    pub(super) fn index(&self, models: &ActiveModels) -> Vec<wire::ModelIndex> {
        let mut names = models.names();
        if let Self::Own { model, .. } = self {
            names.insert(model.clone());
        }
        let entry = |name: &ModelName| match models.ready(name) {
            Some(worker) => wire::ModelIndex {
                name: name.to_string(),
                version: worker.model().version.to_string(),
                state: "READY".to_owned(),
                reason: String::new(),
            },
            None => wire::ModelIndex {
                name: name.to_string(),
                version: String::new(),
                state: "UNAVAILABLE".to_owned(),
                reason: if models.expects(name) {
                    "no ready worker at the moment".to_owned()
                } else {
                    "unloaded".to_owned()
                },
            },
        };
        names.iter().map(entry).collect()
    }
}

impl Endpoint {
    /// The repository, for a client that may use it.
    pub(super) fn repository_for(
        &self,
        peer: Option<Peer>,
        headers: &HeaderMap,
    ) -> Result<&Repository, Fault> {
        if peer != Some(Peer::Here) {
            let message = "the model repository is for clients on this machine: use its loopback address or infer.sock";
            return Err(Fault::new(Kind::Forbidden, message));
        }
        if headers.contains_key(header::ORIGIN) {
            let message = "the model repository is not for browsers";
            return Err(Fault::new(Kind::Forbidden, message));
        }
        Ok(&self.repository)
    }
}
