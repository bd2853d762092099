//! Properties over random histories: wishes, failures, crashes, restarts, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millwright_proto::Digest;
use millwright_proto::ids::ModelName;
use proptest::prelude::*;

use crate::desired::{Desired, DesiredSlot, Gap};
use crate::hold::freeze;
use crate::models::failure::CRASHES_MAX;
use crate::models::{Fact, Failure, FailureClass, Life, Observed, PackageId, WorkerId};
use crate::reconcile::{Step, next_wakeup, reconcile};

pub(super) const PROVE_FOR: Duration = Duration::from_secs(30);

pub(super) fn package(number: u8) -> PackageId {
    PackageId {
        version: format!("detector@{number}").parse().unwrap(),
        digest: Digest::of(&[number]),
    }
}

pub(super) fn model() -> ModelName {
    package(0).version.model
}

pub(super) fn failure(class: FailureClass) -> Failure {
    let message = format!("{class:?}");
    Failure { class, message }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Loaded,
    Proven,
    Draining,
    Ending,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) observed: Observed,
    pub(super) now: Duration,
    pub(super) serving: Option<(PackageId, WorkerId)>,
    pub(super) pending: Vec<Step>,
    pub(super) disk: BTreeSet<PackageId>,
    /// Every version that was active once.
    has_served: BTreeSet<PackageId>,
    workers: BTreeMap<WorkerId, (PackageId, Process)>,
    next_worker: u64,
    withdrawn: bool,
    /// Whether starts are refused at once for lack of memory.
    full: bool,
    pub(super) gap: Gap,
    /// Under a hold: what it keeps, and the wish that waits for its end.
    held: Option<(Desired, Option<Desired>)>,
}

impl World {
    pub(super) fn desire(&mut self, number: Option<u8>) {
        let slots = number.map(|number| {
            let prove_for = PROVE_FOR;
            let package = package(number);
            let gap = self.gap;
            let slot = DesiredSlot {
                package,
                prove_for,
                gap,
            };
            (model(), slot)
        });
        let desired = Desired {
            generation: self.desired.generation.next(),
            slots: slots.into_iter().collect(),
        };
        match &mut self.held {
            Some((_, waiting)) => *waiting = Some(desired),
            None => self.adopt(desired),
        }
    }

    fn adopt(&mut self, desired: Desired) {
        self.desired = desired;
        self.observed.adopt(&self.desired);
        self.settle();
    }

    /// What the node works towards.
    pub(super) fn wish(&self) -> Desired {
        match &self.held {
            Some((kept, _)) => kept.clone(),
            None => self.desired.clone(),
        }
    }

    pub(super) fn hold(&mut self) {
        if self.held.is_none() {
            self.held = Some((freeze(&self.desired, &self.observed), None));
            self.settle();
        }
    }

    pub(super) fn release(&mut self) {
        if let Some((_, waiting)) = self.held.take() {
            let desired = waiting.unwrap_or_else(|| self.desired.clone());
            self.adopt(desired);
        }
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.observe(fact);
        self.settle();
    }

    fn observe(&mut self, fact: Fact) {
        self.observed.observe(fact, &self.wish(), self.now);
        // One that is to end answers no more.
        let slot = self.observed.slots.get(&model());
        if let (Some(slot), Some((_, worker))) = (slot, &self.serving)
            && slot.retiring.contains_key(worker)
        {
            self.serving = None;
        }
    }

    /// Hands out steps until there are none, and checks the invariants in between.
    pub(super) fn settle(&mut self) {
        loop {
            let steps = reconcile(&self.wish(), &self.observed, self.now);
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.hand_out(step);
                self.check();
            }
        }
    }

    fn hand_out(&mut self, step: Step) {
        self.observed.started(&step);
        match &step {
            Step::Switch(package, worker) => {
                assert_eq!(
                    self.workers.get(worker),
                    Some(&(package.clone(), Process::Proven))
                );
                if self.held.is_some() {
                    let known = self.has_served.contains(package);
                    assert!(known, "under a hold nothing new takes over");
                }
                self.has_served.insert(package.clone());
                self.serving = Some((package.clone(), *worker));
                let fact = Fact::Switched(package.clone(), *worker);
                self.observed.observe(fact, &self.wish(), self.now);
            }
            Step::Withdraw(model) => {
                let wish = self.wish();
                let wanted = wish.slots.get(model);
                assert!(wanted.is_none_or(|wanted| wanted.gap == Gap::Allowed));
                self.serving = None;
                self.withdrawn = true;
                let fact = Fact::Withdrawn(model.clone());
                self.observed.observe(fact, &self.wish(), self.now);
            }
            Step::Drain(_, worker) => {
                self.set(*worker, Process::Draining);
                self.pending.push(step);
            }
            Step::EndWorker(_, worker) => {
                self.set(*worker, Process::Ending);
                self.pending.push(step);
            }
            Step::Remove(package) => {
                assert!(
                    self.workers.values().all(|(held, _)| held != package),
                    "files in use"
                );
                let loads = Step::StartWorker(package.clone());
                assert!(!self.pending.contains(&loads), "files in use");
                self.pending
                    .retain(|other| *other != Step::Fetch(package.clone()));
                self.pending.push(step);
            }
            Step::StartWorker(package) if self.full => {
                assert!(!self.pending.contains(&step), "{step:?} runs already");
                let fact = Fact::StartFailed(package.clone(), failure(FailureClass::Memory));
                self.observe(fact);
            }
            Step::Fetch(_) | Step::Verify(_) | Step::StartWorker(_) | Step::RunGolden(..) => {
                assert!(!self.pending.contains(&step), "{step:?} runs already");
                self.pending.push(step);
            }
        }
    }

    fn set(&mut self, worker: WorkerId, process: Process) {
        assert_ne!(
            self.serving.as_ref().map(|(_, serving)| *serving),
            Some(worker)
        );
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.1 = process;
        }
    }

    /// Invariant 1, at this instant.
    fn check(&self) {
        let slot = self.observed.slots.get(&model());
        let active: Vec<_> = slot
            .iter()
            .flat_map(|slot| &slot.lives)
            .filter(|(_, life)| matches!(life, Life::Active { .. }))
            .collect();
        assert!(active.len() <= 1, "{active:?}");
        let believed = slot
            .and_then(|slot| slot.active())
            .map(|(p, w)| (p.clone(), w));
        assert_eq!(believed, self.serving);
        if let Some((_, worker)) = &self.serving {
            assert_eq!(
                self.workers[worker].1,
                Process::Proven,
                "what serves is ready"
            );
        }
        if let Some(slot) = slot {
            assert!(slot.lives.len() <= 8, "lives are bounded");
        }
    }

    /// Ends the pending step at `index`, well or with `class`.
    pub(super) fn complete(&mut self, index: usize, class: Option<FailureClass>) {
        if self.pending.is_empty() {
            return;
        }
        let step = self.pending.remove(index % self.pending.len());
        let fact = match (step, class) {
            (Step::Fetch(package), None) => Fact::Fetched(package),
            (Step::Fetch(package), Some(class)) => Fact::FetchFailed(package, failure(class)),
            (Step::Verify(package), None) => {
                self.disk.insert(package.clone());
                Fact::Verified(package)
            }
            (Step::Verify(package), Some(class)) => Fact::VerifyFailed(package, failure(class)),
            (Step::StartWorker(package), None) => {
                self.next_worker += 1;
                let worker = WorkerId::new(self.next_worker);
                self.workers
                    .insert(worker, (package.clone(), Process::Loaded));
                Fact::WorkerReady(package, worker)
            }
            (Step::StartWorker(package), Some(class)) => Fact::StartFailed(package, failure(class)),
            (Step::RunGolden(package, worker), _) if !self.workers.contains_key(&worker) => {
                Fact::GoldenFailed(package, worker, failure(FailureClass::WorkerCrash))
            }
            (Step::RunGolden(package, worker), None) => {
                if self.workers[&worker].1 == Process::Loaded {
                    self.set(worker, Process::Proven);
                }
                Fact::GoldenPassed(package, worker)
            }
            (Step::RunGolden(package, worker), Some(_)) => {
                Fact::GoldenFailed(package, worker, failure(FailureClass::Golden))
            }
            (Step::Drain(package, worker), _) => Fact::Drained(package, worker),
            (Step::EndWorker(package, worker), _) => {
                self.workers.remove(&worker);
                Fact::WorkerGone(package, worker, failure(FailureClass::WorkerCrash))
            }
            (Step::Remove(package), _) => {
                self.disk.remove(&package);
                Fact::Removed(package)
            }
            (Step::Switch(..) | Step::Withdraw(..), _) => unreachable!("done when handed out"),
        };
        self.fact(fact);
    }

    pub(super) fn crash(&mut self, index: usize) {
        let Some(worker) = self
            .workers
            .keys()
            .nth(index % self.workers.len().max(1))
            .copied()
        else {
            return;
        };
        let (package, _) = self.workers.remove(&worker).unwrap();
        self.pending
            .retain(|step| *step != Step::EndWorker(package.clone(), worker));
        let served = self
            .serving
            .as_ref()
            .is_some_and(|(_, serving)| *serving == worker);
        if served {
            self.serving = None;
        }
        let spare = self
            .workers
            .values()
            .any(|(_, process)| *process == Process::Proven);
        self.fact(Fact::WorkerGone(
            package,
            worker,
            failure(FailureClass::WorkerCrash),
        ));
        let wanted = !self.wish().slots.is_empty();
        assert!(
            !(served && spare && wanted) || self.serving.is_some(),
            "a warm one takes over"
        );
    }

    fn crashes_of_serving(&self) -> u32 {
        let crashes = self.serving.as_ref().and_then(|(package, _)| {
            let slot = self.observed.slots.get(&model())?;
            slot.crashes.get(package)
        });
        crashes.map_or(0, |crashes| crashes.count)
    }

    /// The serving worker is found to be too large.
    pub(super) fn wear(&mut self) {
        if let Some((package, worker)) = self.serving.clone() {
            let failure = failure(FailureClass::WorkerCrash);
            self.fact(Fact::WorkerWorn(package, worker, failure));
        }
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// The agent ends and starts again: processes are gone; disk, activations, verdicts and a hold stay.
    pub(super) fn restart(&mut self) {
        let activated = self
            .observed
            .slots
            .get(&model())
            .map(|slot| slot.activated.clone());
        let given_up = self.observed.given_up();
        self.observed = Observed::default();
        self.pending.clear();
        self.workers.clear();
        self.serving = None;
        self.observed
            .restore_activated(&model(), activated.unwrap_or_default());
        for verdict in given_up {
            if verdict.generation == self.desired.generation {
                self.observed.restore_given_up(verdict);
            }
        }
        for package in &self.disk {
            self.observed.found_on_disk(package.clone());
        }
        if let Some((kept, _)) = &mut self.held {
            *kept = freeze(&self.desired, &self.observed);
        }
        self.observed.adopt(&self.wish());
        self.settle();
    }

    /// Lets everything succeed until nothing is left to do.
    pub(super) fn calm(&mut self) {
        for _ in 0..1_000 {
            if !self.pending.is_empty() {
                self.complete(0, None);
            } else if let Some(due) = next_wakeup(&self.observed, self.now) {
                self.now = due;
                self.settle();
            } else {
                return;
            }
        }
        panic!("does not converge: {:#?}", self.observed);
    }
}

#[derive(Clone, Debug)]
enum Action {
    Desire(Option<u8>, Gap),
    /// The serving worker has grown.
    Wear,
    Complete(usize, Option<FailureClass>),
    Crash(usize),
    Advance(u16),
    /// Time passes, but the loop is busy and looks only after the next event.
    Late(u16),
    LinkUp,
    /// Memory is full from now on, or no more.
    Full(bool),
    Restart,
    Hold,
    Release,
}

fn class() -> impl Strategy<Value = FailureClass> {
    prop::sample::select(vec![
        FailureClass::Fetch,
        FailureClass::Storage,
        FailureClass::Digest,
        FailureClass::SignatureUntrusted,
        FailureClass::ModelInvalid,
        FailureClass::RuntimeMissing,
        FailureClass::WorkerStart,
        FailureClass::Memory,
    ])
}

fn gap() -> impl Strategy<Value = Gap> {
    prop::sample::select(vec![Gap::Refused, Gap::Allowed])
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => (prop::option::weighted(0.9, 1..5_u8), gap())
            .prop_map(|(number, gap)| Action::Desire(number, gap)),
        1 => Just(Action::Wear),
        12 => (0..8_usize).prop_map(|index| Action::Complete(index, None)),
        3 => (0..8_usize, class()).prop_map(|(index, class)| Action::Complete(index, Some(class))),
        2 => (0..4_usize).prop_map(Action::Crash),
        3 => (1..60_000_u16).prop_map(Action::Advance),
        2 => (1..60_000_u16).prop_map(Action::Late),
        1 => Just(Action::LinkUp),
        1 => any::<bool>().prop_map(Action::Full),
        1 => Just(Action::Restart),
        1 => Just(Action::Hold),
        2 => Just(Action::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn what_serves_stays_ready_and_a_calm_world_reaches_what_is_desired(
        actions in prop::collection::vec(action(), 1..120),
        last in 1..5_u8,
    ) {
        let mut world = World::default();
        for action in actions {
            let served = world.serving.is_some();
            world.withdrawn = false;
            let faulty = world.full || match action {
                Action::Crash(_) | Action::Restart => true,
                // No room for both: the one that has grown ends first.
                Action::Complete(_, Some(FailureClass::Memory)) => true,
                Action::Wear => world.crashes_of_serving() + 1 >= CRASHES_MAX,
                Action::Desire(..)
                | Action::Complete(..)
                | Action::Advance(_)
                | Action::Late(_)
                | Action::LinkUp
                | Action::Full(_)
                | Action::Hold
                | Action::Release => false,
            };
            match action {
                Action::Desire(number, gap) => {
                    world.gap = gap;
                    world.desire(number);
                }
                Action::Wear => world.wear(),
                Action::Complete(index, class) => world.complete(index, class),
                Action::Crash(index) => world.crash(index),
                Action::Advance(ms) => world.advance(Duration::from_millis(ms.into())),
                Action::Late(ms) => world.now += Duration::from_millis(ms.into()),
                Action::LinkUp => {
                    world.observed.hurry_downloads(world.now);
                    world.settle();
                }
                Action::Full(full) => world.full = full,
                Action::Restart => world.restart(),
                Action::Hold => world.hold(),
                Action::Release => world.release(),
            }
            world.check();
            prop_assert!(!served || faulty || world.withdrawn || world.serving.is_some(), "a gap");
        }
        world.full = false;
        world.release();
        world.desire(Some(last));
        world.calm();
        prop_assert_eq!(world.serving.as_ref().map(|(p, _)| p.clone()), Some(package(last)));
        prop_assert_eq!(world.workers.len(), 1, "nothing else holds memory");
        prop_assert!(world.disk.len() <= 2, "the active one and the one before: {:?}", world.disk);
    }
}
