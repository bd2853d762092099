//! Carries out the steps of edge-core and reports what came of them.
//!
//! Owns the running workers, the downloads under way and the way to ONNX Runtime. It has no policy:
//! what to do, in which order and when again is decided in `edge_core::reconcile`. Each step runs as
//! a task of its own, bounded in time, and ends in exactly one [`Outcome`] on the channel to the
//! control loop; a switch is one atomic store and is done at once.

pub mod budget;
mod failures;
mod packages;
pub mod runtime;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edge_core::memory::Claim;
use edge_core::models::{Fact, Failure, FailureClass, PackageId, WorkerId};
use edge_core::reconcile::Step;
use millwright_package::Manifest;
use millwright_proto::ids::{ModelName, ModelVersion};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::desired::Plan;
use crate::fetch::{BlobSource, Shelf, TrustPolicy};
use crate::serving::models::ActiveModels;
use crate::worker::sandbox::Gap;
use crate::worker::terms::Footing;
use crate::worker::{InferError, Worker, WorkerSpec};
use budget::Budget;
use failures::{golden_failure, start_failure};
use runtime::Runtime;

/// Outcomes waiting for the control loop. A step ends in one; a node has at most a few dozen models
/// with one step each under way.
pub const OUTCOMES_WAITING_MAX: usize = 64;

/// Longest golden run: 16 sets of a slow model.
const GOLDEN_LIMIT: Duration = Duration::from_secs(300);

/// Longest wait for requests in flight on a replaced worker. Longer than any request may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);

/// What came of a step, with what the executor has to keep of it.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing to keep.
    Fact(Fact),
    /// A package is verified; its manifest is needed to start workers.
    Verified(PackageId, Arc<Manifest>),
    /// A worker holds the package now.
    Started(PackageId, Arc<Worker>),
}

/// A worker's process, as far as its memory goes.
struct Process {
    pid: u32,
    declared_bytes: Option<u64>,
}

impl Process {
    fn of(worker: &Worker) -> Self {
        Self {
            pid: worker.pid(),
            declared_bytes: budget::declared(&worker.spec().manifest),
        }
    }

    fn claim(&self) -> Claim {
        let measured = crate::telemetry::node::process_memory_bytes(&self.pid.to_string());
        Claim {
            declared_bytes: self.declared_bytes,
            measured_bytes: measured.unwrap_or(0),
        }
    }
}

/// Carries out steps.
pub struct Executor<B> {
    shelf: Shelf,
    trust: TrustPolicy,
    blobs: B,
    runtime: Runtime,
    budget: Budget,
    models: ActiveModels,
    manifests: BTreeMap<PackageId, Arc<Manifest>>,
    workers: BTreeMap<WorkerId, Arc<Worker>>,
    /// Every process that is not known to be gone, also those told to end.
    processes: BTreeMap<WorkerId, Process>,
    downloads: BTreeMap<PackageId, AbortHandle>,
    workers_started: u64,
    /// What the kernel could not keep the last worker from.
    gaps: Vec<Gap>,
    outcomes: mpsc::Sender<Outcome>,
}

impl<B: BlobSource> Executor<B> {
    /// An executor without workers; outcomes go to `outcomes`.
    pub fn new(
        shelf: Shelf,
        trust: TrustPolicy,
        blobs: B,
        (runtime, budget): (Runtime, Budget),
        models: ActiveModels,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        Self {
            shelf,
            trust,
            blobs,
            runtime,
            budget,
            models,
            manifests: BTreeMap::new(),
            workers: BTreeMap::new(),
            processes: BTreeMap::new(),
            downloads: BTreeMap::new(),
            workers_started: 0,
            gaps: Vec::new(),
            outcomes,
        }
    }

    /// What is known of ONNX Runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What the kernel here does not keep workers from; empty also before the first has started.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Begins a step. Returns its fact when it is done already.
    pub fn begin(&mut self, step: Step, plan: &Plan) -> Option<Fact> {
        match step {
            Step::Fetch(package) => self.fetch(package, plan),
            Step::Verify(package) => self.verify(package, plan),
            Step::StartWorker(package) => return self.start_worker(package, plan),
            Step::RunGolden(package, worker) => return self.run_golden(package, worker),
            Step::Switch(package, worker) => return Some(self.switch(package, worker)),
            Step::Withdraw(model) => {
                self.models.deactivate(&model);
                return Some(Fact::Withdrawn(model));
            }
            Step::Drain(package, worker) => return self.drain(package, worker),
            // The process ends with the last handle; that it is gone is reported by its watcher.
            Step::EndWorker(_, worker) => {
                if let Some(worker) = self.workers.remove(&worker) {
                    self.models.forget(&worker);
                }
            }
            Step::Remove(package) => self.remove(package),
        }
        None
    }

    /// Keeps what an outcome brings, and returns its fact.
    pub fn absorb(&mut self, outcome: Outcome) -> Fact {
        match outcome {
            Outcome::Fact(fact) => {
                if let Fact::Fetched(package) | Fact::FetchFailed(package, _) = &fact {
                    self.downloads.remove(package);
                }
                if let Fact::StartFailed(package, failure) = &fact {
                    self.budget.started(package);
                    if failure.class == FailureClass::RuntimeMissing {
                        self.runtime.tried(Some(failure.message.clone()));
                    }
                }
                if let Fact::WorkerGone(_, worker, _) = &fact {
                    self.workers.remove(worker);
                    self.processes.remove(worker);
                }
                fact
            }
            Outcome::Verified(package, manifest) => {
                self.manifests.insert(package.clone(), manifest);
                Fact::Verified(package)
            }
            Outcome::Started(package, worker) => {
                self.workers_started += 1;
                let id = WorkerId::new(self.workers_started);
                self.budget.started(&package);
                self.watch(package.clone(), id, &worker);
                self.processes.insert(id, Process::of(&worker));
                self.take_note(&worker);
                self.workers.insert(id, worker);
                self.runtime.tried(None);
                Fact::WorkerReady(package, id)
            }
        }
    }

    /// Logs what a new worker computes with, and keeps what it is not kept from.
    fn take_note(&mut self, worker: &Worker) {
        let Footing { gaps, computing } = worker.footing();
        let ModelVersion { model, version } = worker.model();
        let passed_over = computing.passed_over.join("; ");
        tracing::info!(%model, %version, provider = %computing.provider, passed_over, "a worker holds the model");
        self.gaps.clone_from(gaps);
    }

    /// Ends every worker and waits until they are gone.
    pub async fn shut_down(mut self, limit: Duration) {
        for download in self.downloads.values() {
            download.abort();
        }
        let models: Vec<ModelName> = self
            .workers
            .values()
            .map(|worker| worker.model().model.clone())
            .collect();
        for model in models {
            self.models.deactivate(&model);
        }
        let workers = std::mem::take(&mut self.workers);
        let ends: Vec<_> = workers.into_values().map(|worker| worker.ended()).collect();
        let all = async {
            for end in ends {
                end.await;
            }
        };
        if timeout(limit, all).await.is_err() {
            tracing::warn!("workers are still busy after {limit:?}; they end with the agent");
        }
    }

    fn start_worker(&mut self, package: PackageId, plan: &Plan) -> Option<Fact> {
        let spec = WorkerSpec {
            model: package.version.clone(),
            directory: self.place(&package, plan),
            manifest: match self.manifests.get(&package) {
                Some(manifest) => Arc::clone(manifest),
                None => {
                    let failure = Failure {
                        class: FailureClass::Storage,
                        message: format!("{package} is not verified in this run"),
                    };
                    return Some(Fact::StartFailed(package, failure));
                }
            },
        };
        let host = match self.runtime.host() {
            Ok(host) => host,
            Err(failure) => return Some(Fact::StartFailed(package, failure)),
        };
        let running = self.processes.values().map(Process::claim);
        if let Err(failure) = self.budget.set_aside(&package, &spec, running) {
            return Some(Fact::StartFailed(package, failure));
        }
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let outcome = match host.spawn(spec).await {
                Ok(worker) => Outcome::Started(package, worker),
                Err(error) => Outcome::Fact(Fact::StartFailed(package, start_failure(&error))),
            };
            report(&outcomes, outcome).await;
        });
        None
    }

    /// Reports when the process has grown and when it is gone, without keeping it.
    fn watch(&self, package: PackageId, id: WorkerId, worker: &Worker) {
        let ended = worker.ended();
        let mut worn = worker.worn();
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            tokio::pin!(ended);
            let failure = |message| Failure {
                class: FailureClass::WorkerCrash,
                message,
            };
            let end = loop {
                tokio::select! {
                    end = &mut ended => break end,
                    Ok(()) = worn.changed() => {
                        let Some(worn) = *worn.borrow_and_update() else { continue };
                        let message = format!("the worker of {} is replaced: {worn}", package.version);
                        let fact = Fact::WorkerWorn(package.clone(), id, failure(message));
                        report(&outcomes, Outcome::Fact(fact)).await;
                    }
                }
            };
            let message = format!("the worker of {} ended by itself: {end}", package.version);
            let fact = Fact::WorkerGone(package, id, failure(message));
            report(&outcomes, Outcome::Fact(fact)).await;
        });
    }

    /// Warms the worker and runs the golden set. A worker that ends under it is reported by its
    /// watcher alone.
    fn run_golden(&self, package: PackageId, id: WorkerId) -> Option<Fact> {
        let worker = Arc::clone(self.workers.get(&id)?);
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let run = async {
                worker.run_golden().await?;
                Ok(worker.warm().await)
            };
            let fact = match timeout(GOLDEN_LIMIT, run).await {
                Ok(Ok(Ok(()))) => Fact::GoldenPassed(package, id),
                Ok(Ok(Err(InferError::WorkerEnded(_)))) => return,
                Ok(Ok(Err(error))) => {
                    let message = format!("a first request failed: {error}");
                    Fact::GoldenFailed(package, id, golden_failure(message))
                }
                Ok(Err(error)) if failures::is_worker_end(&error) => return,
                Ok(Err(error)) => {
                    Fact::GoldenFailed(package, id, golden_failure(error.to_string()))
                }
                Err(_) => {
                    let message = format!("the golden set took longer than {GOLDEN_LIMIT:?}");
                    Fact::GoldenFailed(package, id, golden_failure(message))
                }
            };
            drop(worker);
            report(&outcomes, Outcome::Fact(fact)).await;
        });
        None
    }

    fn switch(&mut self, package: PackageId, id: WorkerId) -> Fact {
        if let Some(worker) = self.workers.get(&id) {
            // The replaced worker is kept in `workers` until edge-core ends it.
            self.models.activate(Arc::clone(worker));
        }
        Fact::Switched(package, id)
    }

    fn drain(&self, package: PackageId, id: WorkerId) -> Option<Fact> {
        let Some(worker) = self.workers.get(&id).map(Arc::clone) else {
            return Some(Fact::Drained(package, id));
        };
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            if timeout(DRAIN_LIMIT, worker.drain()).await.is_err() {
                tracing::warn!(model = %worker.model(), "requests are in flight after {DRAIN_LIMIT:?}; not waiting longer");
            }
            drop(worker);
            report(&outcomes, Outcome::Fact(Fact::Drained(package, id))).await;
        });
        None
    }
}

async fn report(outcomes: &mpsc::Sender<Outcome>, outcome: Outcome) {
    // Closed only while the agent ends.
    let _ = outcomes.send(outcome).await;
}
