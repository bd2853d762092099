//! The control loop: what is desired and what happened go in, steps come out.
//!
//! ```text
//!            ┌───────────────── Event ─────────────────┐
//!   session ─┤ Desired                                 │   reconcile (edge-core)
//!  executor ─┤ Outcome ─> observe (edge-core) ─────────┼──> steps ─> executor
//!     timer ─┤ Due                                     │──> Applied ─> session
//!            └─────────────────────────────────────────┘──> notices ─> journal
//! ```
//!
//! Owns the observed state of the node and the desired state in force. After each event it compares
//! all of one with all of the other; an event only wakes it. Persist, then act: a desired state is
//! stored before it is reconciled, and the order of activations after each change. It takes no
//! decision itself. When the disk refuses, it goes on with what is in force, says so and tries again.
//! A held node, and one that lost its desired state, keeps what it runs ([`wish`]).

mod activations;
mod applied;
mod event;
mod wish;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use edge_core::desired::Desired;
use edge_core::hold::Hold;
use edge_core::models::{Fact, Observed, PackageId};
use edge_core::reconcile::{next_wakeup, reconcile};
use millwright_proto::ids::Generation;
use millwright_proto::link::{Applied, NodeCondition, PipelineStatus};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::desired::{Adoption, DesiredError, Plan};
use crate::executor::{Executor, Outcome};
use crate::fetch::{BlobSource, Shelf};
use crate::journal::{Journal, Severity};
use crate::link::{LinkStatus, ReceivedDesired};
use crate::pipeline::cloud::CloudPipelines;
use crate::serving::models::ActiveModels;
use crate::storage::{Part, Problems, StorageHealth};
use activations::Activations;
pub(crate) use applied::SANDBOX_DEGRADED;
use applied::{Situation, applied};
use event::{Event, next_event};
pub use wish::Wish;

/// Longest time the workers get to end when the agent ends.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// How soon what the disk refused is tried again: a person frees space and looks.
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What the loop is told.
pub struct Outlets {
    /// For the session.
    pub applied: watch::Sender<Applied>,
    /// Length of a summary window the desired state asks for.
    pub summary_window: watch::Sender<Option<Duration>>,
    /// Pipelines the desired state asks for.
    pub pipelines: watch::Sender<CloudPipelines>,
    /// What came of those: the way back.
    pub pipelines_told: watch::Receiver<Vec<PipelineStatus>>,
    /// For people.
    pub journal: Journal,
    /// What could not be stored.
    pub storage: StorageHealth,
}

/// The control loop.
pub struct Control<B> {
    wish: Wish,
    plan: Plan,
    desired: Desired,
    /// What it keeps instead, while it may not follow `desired`.
    kept: Option<Desired>,
    hold: Option<Hold>,
    /// Received, and not in force: the node is held, or the disk refused it.
    waiting: Option<ReceivedDesired>,
    observed: Observed,
    activations: Activations,
    problems: watch::Receiver<Problems>,
    executor: Executor<B>,
    outcomes: mpsc::Receiver<Outcome>,
    models: ActiveModels,
    outlets: Outlets,
    started: Instant,
}

impl<B: BlobSource> Control<B> {
    /// A loop that starts from what the last run left: the desired state in force, the packages on
    /// disk, the order of activations.
    pub async fn restore(
        wish: Wish,
        executor: Executor<B>,
        outcomes: mpsc::Receiver<Outcome>,
        models: ActiveModels,
        shelf: &Shelf,
        outlets: Outlets,
    ) -> Self {
        let (plan, generation, activations) = match &wish {
            Wish::Local(wanted) => {
                let (generation, plan) = wanted.borrow().clone();
                (plan, generation, Activations::forgetful())
            }
            Wish::Fleet { store, state, .. } => {
                let Outlets {
                    storage, journal, ..
                } = &outlets;
                let activations = Activations::load(state.clone(), shelf, storage, journal).await;
                match store.in_force() {
                    Some(current) => (current.plan.clone(), current.generation, activations),
                    None => (Plan::default(), Generation::NONE, activations),
                }
            }
        };
        let mut control = Self {
            desired: plan.desired(generation),
            plan,
            kept: None,
            hold: None,
            waiting: None,
            problems: outlets.storage.watch(),
            observed: Observed::default(),
            activations,
            wish,
            executor,
            outcomes,
            models,
            outlets,
            started: Instant::now(),
        };
        control.take_stock(shelf);
        control
    }

    /// Takes over what is on disk, and deletes what nobody knows.
    fn take_stock(&mut self, shelf: &Shelf) {
        let mut known: BTreeSet<PackageId> = self
            .desired
            .slots
            .values()
            .map(|slot| slot.package.clone())
            .collect();
        for (model, activated) in self.activations.restored() {
            known.extend(activated.iter().cloned());
            self.observed.restore_activated(model, activated.clone());
        }
        for verdict in self.activations.given_up() {
            let still = verdict.generation == self.desired.generation;
            if still && self.desired.wants(&verdict.package) {
                self.observed.restore_given_up(verdict.clone());
            }
        }
        for package in &known {
            if shelf.place(package, None).is_dir() {
                self.observed.found_on_disk(package.clone());
            }
        }
        if let Wish::Fleet { .. } = self.wish {
            match shelf.sweep(&known) {
                Ok(swept) => {
                    for path in swept {
                        tracing::info!(path = %path.display(), "deleted a package that nobody needs");
                    }
                }
                Err(error) => tracing::warn!("cleaning up packages failed: {error}"),
            }
        }
        self.follow();
    }

    /// Runs until `stop` resolves, then ends the workers.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        self.reconcile().await;
        loop {
            let due = self.due();
            let problems = &mut self.problems;
            let told = &mut self.outlets.pipelines_told;
            let event = tokio::select! {
                event = next_event(&mut self.wish, &mut self.outcomes, due, &mut stop) => event,
                Ok(()) = problems.changed() => Event::Storage,
                Ok(()) = told.changed() => Event::Pipelines,
            };
            match event {
                Event::Desired(received) => self.adopt(received),
                Event::Wished(generation, plan) => {
                    self.desired = plan.desired(generation);
                    self.plan = plan;
                    self.follow();
                }
                Event::Outcome(outcome) => {
                    let fact = self.executor.absorb(outcome);
                    self.observe(fact);
                }
                Event::Link => self.link_changed(),
                Event::Hold => self.follow(),
                Event::Storage | Event::Pipelines => {}
                Event::Due => self.try_waiting(),
                Event::Stop => break,
            }
            self.reconcile().await;
        }
        self.executor.shut_down(SHUTDOWN_LIMIT).await;
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When to look again although nothing happened.
    fn due(&self) -> Option<Instant> {
        let step = next_wakeup(&self.observed, self.now()).map(|due| self.started + due);
        let failing = !self.problems.borrow().is_empty();
        let again = failing.then(|| Instant::now() + STORE_AGAIN_AFTER);
        step.into_iter().chain(again).min()
    }

    fn adopt(&mut self, received: ReceivedDesired) {
        let Wish::Fleet { store, .. } = &mut self.wish else {
            return;
        };
        let generation = received.generation;
        if self.hold.is_some() {
            tracing::info!(%generation, "a desired state waits for the end of the hold");
            self.waiting = Some(received);
            return;
        }
        let ReceivedDesired {
            digest, document, ..
        } = received.clone();
        // A few milliseconds of disk, a few times a day.
        let outcome = tokio::task::block_in_place(|| store.offer(generation, digest, document));
        let journal = &self.outlets.journal;
        let stored = match (outcome, store.in_force()) {
            (Ok(Adoption::Adopted), Some(current)) => {
                self.plan = current.plan.clone();
                self.desired = self.plan.desired(current.generation);
                let message = format!("desired generation {generation} is in force");
                journal.record(Severity::Normal, "DesiredAdopted", None, &message);
                self.follow();
                Ok(())
            }
            (Ok(_), _) => Ok(()),
            (Err(error @ DesiredError::Store { .. }), _) => {
                self.waiting = Some(received);
                Err(chain(&error))
            }
            (Err(error), _) => {
                let message = chain(&error);
                journal.record(Severity::Warning, "DesiredRefused", None, &message);
                return;
            }
        };
        self.outlets.storage.note(Part::DesiredState, &stored);
    }

    /// Offers what waits once more, unless the node is still held.
    fn try_waiting(&mut self) {
        if self.hold.is_none()
            && let Some(received) = self.waiting.take()
        {
            self.adopt(received);
        }
    }

    /// Enters a generation, or a hold, or leaves one.
    fn follow(&mut self) {
        let hold = self.wish.hold();
        let before = std::mem::replace(&mut self.hold, hold);
        if before.is_none() || self.hold.is_none() {
            self.kept = self.wish.kept(&self.desired, &self.observed);
        }
        let target = self.kept.as_ref().unwrap_or(&self.desired);
        self.observed.adopt(target);
        self.models.expect(target.slots.keys().cloned().collect());
        self.outlets
            .summary_window
            .send_replace(self.plan.summary_window);
        self.outlets.pipelines.send_if_modified(|running| {
            let changed = *running != self.plan.pipelines;
            running.clone_from(&self.plan.pipelines);
            changed
        });
        let journal = &self.outlets.journal;
        match (&before, &self.hold) {
            (None, Some(hold)) => {
                let message = format!("held at the node: {}", hold.reason);
                journal.record(Severity::Warning, "Held", None, &message);
            }
            (Some(_), None) => {
                let message = "the hold at the node ended";
                journal.record(Severity::Normal, "HoldReleased", None, message);
                self.try_waiting();
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// What it works towards: what is desired, or what it keeps.
    fn target(&self) -> &Desired {
        self.kept.as_ref().unwrap_or(&self.desired)
    }

    fn link_changed(&mut self) {
        let now = self.now();
        if let Wish::Fleet { link, .. } = &mut self.wish
            && matches!(
                link.borrow_and_update().status,
                LinkStatus::Connected { .. }
            )
        {
            self.observed.hurry_downloads(now);
        }
    }

    fn observe(&mut self, fact: Fact) {
        let now = self.now();
        let target = self.kept.as_ref().unwrap_or(&self.desired);
        for notice in self.observed.observe(fact, target, now) {
            self.outlets.journal.notice(&notice);
        }
    }

    /// Begins every step that may begin, then tells the others.
    async fn reconcile(&mut self) {
        loop {
            let steps = reconcile(self.target(), &self.observed, self.now());
            if steps.is_empty() {
                break;
            }
            for step in steps {
                tracing::debug!(?step, "step");
                self.observed.started(&step);
                if let Some(fact) = self.executor.begin(step, &self.plan) {
                    self.observe(fact);
                }
            }
        }
        let kept = self.activations.keep(&self.observed).await;
        self.outlets.storage.note(Part::WorkingState, &kept);
        let applied = applied(Situation {
            desired: &self.desired,
            observed: &self.observed,
            digest: self.wish.digest(),
            runtime: self.executor.runtime(),
            gaps: self.executor.gaps(),
            hold: self.hold.as_ref(),
            problems: &self.problems.borrow_and_update().clone(),
            pipelines: self.outlets.pipelines_told.borrow_and_update().clone(),
        });
        self.tell_of_gaps(&applied.conditions);
        self.outlets.applied.send_if_modified(|current| {
            let changed = *current != applied;
            *current = applied;
            changed
        });
    }
}

impl<B> Control<B> {
    /// Records once that workers are not confined completely, and once more when that changes.
    fn tell_of_gaps(&self, conditions: &[NodeCondition]) {
        let told = self.outlets.applied.borrow();
        let degraded = |conditions: &[NodeCondition]| {
            let mut of_type = conditions
                .iter()
                .filter(|one| one.r#type == SANDBOX_DEGRADED);
            of_type.find(|one| one.holds).map(|one| one.message.clone())
        };
        let now = degraded(conditions);
        if now.is_some() && now != degraded(&told.conditions) {
            let message = now.unwrap_or_default();
            let journal = &self.outlets.journal;
            journal.record(Severity::Warning, SANDBOX_DEGRADED, None, &message);
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
