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
//! decision itself. When the disk refuses, it goes on with what is in memory and says so.

mod activations;
mod applied;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use edge_core::desired::Desired;
use edge_core::models::{Fact, Observed, PackageId};
use edge_core::reconcile::{next_wakeup, reconcile};
use millwright_proto::ids::Generation;
use millwright_proto::link::Applied;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::desired::{Adoption, DesiredStore, Plan};
use crate::executor::{Executor, Outcome};
use crate::fetch::{BlobSource, Shelf};
use crate::journal::{Journal, Severity};
use crate::link::{LinkState, LinkStatus, ReceivedDesired};
use crate::serving::models::ActiveModels;
use crate::store::StateStore;
use activations::Activations;
use applied::applied;

/// Longest time the workers get to end when the agent ends.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Where the desired state comes from.
pub enum Wish {
    /// From the cloud; kept in files between runs.
    Fleet {
        /// The files.
        store: DesiredStore,
        /// Received ones.
        received: watch::Receiver<Option<ReceivedDesired>>,
        /// Whether there is a session.
        link: watch::Receiver<LinkState>,
        /// Keeps the order of activations.
        state: StateStore,
    },
    /// From the command line; it stays.
    Local(Plan),
}

/// What the loop is told.
pub struct Outlets {
    /// For the session.
    pub applied: watch::Sender<Applied>,
    /// Length of a summary window the desired state asks for.
    pub summary_window: watch::Sender<Option<Duration>>,
    /// For people.
    pub journal: Journal,
}

/// The control loop.
pub struct Control<B> {
    wish: Wish,
    plan: Plan,
    desired: Desired,
    observed: Observed,
    activations: Activations,
    executor: Executor<B>,
    outcomes: mpsc::Receiver<Outcome>,
    models: ActiveModels,
    outlets: Outlets,
    started: Instant,
}

/// What wakes the loop.
enum Event {
    /// The session brought a desired state.
    Desired(ReceivedDesired),
    /// A step ended.
    Outcome(Outcome),
    /// The session came or went.
    Link,
    /// A wait or a deadline ended.
    Due,
    /// The agent is to end.
    Stop,
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
            Wish::Local(plan) => (plan.clone(), Generation::new(1), Activations::forgetful()),
            Wish::Fleet { store, state, .. } => {
                let activations = Activations::load(state.clone(), shelf).await;
                match store.in_force() {
                    Some(current) => (current.plan.clone(), current.generation, activations),
                    None => (Plan::default(), Generation::NONE, activations),
                }
            }
        };
        let mut control = Self {
            desired: plan.desired(generation),
            plan,
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
        self.enter_generation();
    }

    /// Runs until `stop` resolves, then ends the workers.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        self.reconcile().await;
        loop {
            let due = next_wakeup(&self.observed, self.now()).map(|due| self.started + due);
            let event = next_event(&mut self.wish, &mut self.outcomes, due, &mut stop).await;
            match event {
                Event::Desired(received) => self.adopt(received),
                Event::Outcome(outcome) => {
                    let fact = self.executor.absorb(outcome);
                    self.observe(fact);
                }
                Event::Link => self.link_changed(),
                Event::Due => {}
                Event::Stop => break,
            }
            self.reconcile().await;
        }
        self.executor.shut_down(SHUTDOWN_LIMIT).await;
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn adopt(&mut self, received: ReceivedDesired) {
        let Wish::Fleet { store, .. } = &mut self.wish else {
            return;
        };
        let ReceivedDesired {
            generation,
            digest,
            document,
        } = received;
        // A few milliseconds of disk, a few times a day.
        let outcome = tokio::task::block_in_place(|| store.offer(generation, digest, document));
        match (outcome, store.in_force()) {
            (Ok(Adoption::Adopted), Some(current)) => {
                self.plan = current.plan.clone();
                self.desired = self.plan.desired(current.generation);
                let message = format!("desired generation {generation} is in force");
                self.outlets
                    .journal
                    .record(Severity::Normal, "DesiredAdopted", None, &message);
                self.enter_generation();
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                let message = chain(&error);
                self.outlets
                    .journal
                    .record(Severity::Warning, "DesiredRefused", None, &message);
            }
        }
    }

    fn enter_generation(&mut self) {
        self.observed.adopt(&self.desired);
        self.models
            .expect(self.desired.slots.keys().cloned().collect());
        self.outlets
            .summary_window
            .send_replace(self.plan.summary_window);
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
        for notice in self.observed.observe(fact, &self.desired, now) {
            self.outlets.journal.notice(&notice);
        }
    }

    /// Begins every step that may begin, then tells the others.
    async fn reconcile(&mut self) {
        loop {
            let steps = reconcile(&self.desired, &self.observed, self.now());
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
        if let Err(error) = self.activations.keep(&self.observed).await {
            tracing::error!("the order of activations is not stored: {error}");
        }
        let applied = applied(
            &self.desired,
            &self.observed,
            self.digest(),
            self.executor.runtime(),
        );
        self.outlets.applied.send_if_modified(|current| {
            let changed = *current != applied;
            *current = applied;
            changed
        });
    }

    fn digest(&self) -> Option<millwright_proto::Digest> {
        match &self.wish {
            Wish::Fleet { store, .. } => store.in_force().map(|current| current.digest),
            Wish::Local(_) => None,
        }
    }
}

async fn next_event(
    wish: &mut Wish,
    outcomes: &mut mpsc::Receiver<Outcome>,
    due: Option<Instant>,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Event {
    let due = async {
        match due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop => Event::Stop,
        Some(outcome) = outcomes.recv() => Event::Outcome(outcome),
        event = from_session(wish) => event,
        () = due => Event::Due,
    }
}

async fn from_session(wish: &mut Wish) -> Event {
    let Wish::Fleet { received, link, .. } = wish else {
        return std::future::pending().await;
    };
    tokio::select! {
        Ok(()) = received.changed() => match received.borrow_and_update().clone() {
            Some(received) => Event::Desired(received),
            None => Event::Due,
        },
        Ok(()) = link.changed() => Event::Link,
        else => std::future::pending().await,
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
