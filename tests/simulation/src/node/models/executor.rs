//! The executor: what a step takes and how it ends, and the invariants of a swap at every instant.

use edge_core::models::{Fact, Failure, FailureClass, Life, PackageId, WorkerId};
use edge_core::reconcile::Step;
use millwright_proto::ids::ModelName;

use super::{Process, number_of, quality_of};
use crate::event::{Epoch, Event, MINUTE, Ms};
use crate::node::{Killed, Machine};
use crate::scenario::Quality;
use crate::seam::Bug;
use crate::shared::Shared;

fn failure(class: FailureClass) -> Failure {
    Failure {
        class,
        message: String::new(),
    }
}

impl Machine {
    /// Hands one step to the executor.
    pub(super) fn begin(&mut self, step: Step, shared: &mut Shared) -> Result<(), Killed> {
        let device = self.device;
        let bug = shared.bug;
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        let models = &mut agent.models;
        models.observed.started(&step);
        let takes = match &step {
            Step::Fetch(_) => match agent.link.is_live() {
                true => shared.random.skewed(2_000, 20 * MINUTE),
                false => 1_000,
            },
            Step::Verify(_) => shared.random.between(200, 3_000),
            Step::StartWorker(_) => shared.random.between(500, 10_000),
            Step::RunGolden(..) => shared.random.between(3_000, 20_000),
            Step::Drain(_, worker) => {
                if let Some(entry) = models.workers.get_mut(worker) {
                    entry.1 = Process::Draining;
                }
                shared.random.skewed(100, 90_000)
            }
            Step::EndWorker(_, worker) => {
                if let Some(entry) = models.workers.get_mut(worker) {
                    entry.1 = Process::Ending;
                }
                shared.random.between(50, 2_000)
            }
            Step::Remove(package) => {
                let package = package.clone();
                models
                    .pending
                    .retain(|_, other| *other != Step::Fetch(package.clone()));
                if models.workers.values().any(|(held, _)| *held == package) {
                    let text = format!("the files of {package} are deleted under its worker");
                    shared.fail(Some(device), text);
                }
                shared.random.between(50, 2_000)
            }
            Step::Switch(package, worker) => {
                let (package, worker) = (package.clone(), *worker);
                return self.switch(&package, worker, shared);
            }
            Step::Withdraw(model) => {
                let model = model.clone();
                if models.desired.slots.contains_key(&model) {
                    shared.fail(Some(device), format!("{model} is withdrawn but desired"));
                }
                models.serving.remove(&model);
                self.observe(Fact::Withdrawn(model), shared);
                return self.step();
            }
        };
        models.steps_begun += 1;
        let (token, epoch) = (models.steps_begun, agent.epoch);
        let warms = matches!(step, Step::StartWorker(_));
        let model = step.model().clone();
        models.pending.insert(token, step);
        shared
            .queue
            .at(shared.now + takes, Event::StepEnds(device, epoch, token));
        if warms && bug == Bug::OldWorkerEndedFirst {
            models.serving.remove(&model);
        }
        self.check_models(shared);
        self.step()
    }

    fn switch(
        &mut self,
        package: &PackageId,
        worker: WorkerId,
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let device = self.device;
        let quality = quality_of(package, shared);
        if let Some(agent) = &mut self.agent {
            let held = agent.models.workers.get(&worker);
            if held != Some(&(package.clone(), Process::Proven)) {
                let text = format!("requests go to {package}, whose worker is {held:?}");
                shared.fail(Some(device), text);
            }
            let model = package.version.model.clone();
            agent
                .models
                .serving
                .insert(model, (package.clone(), worker));
            if quality == Quality::CrashesLate {
                let after = shared.random.between(2_000, 90_000);
                let dies = Event::WorkerDies(device, agent.epoch, worker);
                shared.queue.at(shared.now + after, dies);
            }
        }
        self.observe(Fact::Switched(package.clone(), worker), shared);
        self.check_models(shared);
        // A power cut right here finds the old order of activations on disk, or the new one.
        self.step()
    }

    /// At most one active version of a model, and what is believed active is what serves.
    fn check_models(&self, shared: &mut Shared) {
        let Some(agent) = &self.agent else { return };
        for (model, slot) in &agent.models.observed.slots {
            let active = |life: &&Life| matches!(life, Life::Active { .. });
            let count = slot.lives.values().filter(active).count();
            if count > 1 {
                shared.fail(
                    Some(self.device),
                    format!("{count} active versions of {model}"),
                );
            }
            let believed = slot.active();
            let serves = agent.models.serving.get(model);
            if believed != serves.map(|(package, worker)| (package, *worker)) {
                let text = format!("{model}: active is {believed:?}, requests go to {serves:?}");
                shared.fail(Some(self.device), text);
            }
        }
    }

    /// A step of run `epoch` ends.
    pub(crate) fn step_ends(&mut self, epoch: Epoch, token: u64, shared: &mut Shared) {
        if !self.runs(epoch) {
            return;
        }
        let Some(agent) = &mut self.agent else { return };
        let Some(step) = agent.models.pending.remove(&token) else {
            return;
        };
        let live = agent.link.is_live();
        let mut done = Ok(());
        let fact = match step {
            Step::Fetch(package) => match live {
                true => Some(Fact::Fetched(package)),
                false => Some(Fact::FetchFailed(package, failure(FailureClass::Fetch))),
            },
            Step::Verify(package) => {
                done = self.step();
                if done.is_ok() {
                    self.disk.packages.insert(package.clone());
                }
                Some(Fact::Verified(package))
            }
            Step::StartWorker(package) => Some(self.started(package, epoch, shared)),
            Step::RunGolden(package, worker) => self.golden(package, worker, shared),
            Step::Drain(package, worker) => Some(Fact::Drained(package, worker)),
            Step::EndWorker(package, worker) => {
                agent.models.workers.remove(&worker);
                let told = failure(FailureClass::WorkerCrash);
                Some(Fact::WorkerGone(package, worker, told))
            }
            Step::Remove(package) => {
                self.disk.packages.remove(&package);
                Some(Fact::Removed(package))
            }
            Step::Switch(..) | Step::Withdraw(..) => None,
        };
        if done.is_ok() {
            self.happened(fact, shared);
        } else {
            self.after(done, shared);
        }
    }

    /// Takes a fact, reconciles, and checks that what served goes on serving.
    fn happened(&mut self, fact: Option<Fact>, shared: &mut Shared) {
        let before = self.agent.as_ref().map(|agent| agent.models.serving());
        if let Some(fact) = fact {
            self.observe(fact, shared);
        }
        let done = self.reconcile(shared);
        if let (Some(agent), Some(before), Ok(())) = (&self.agent, before, done) {
            let now = agent.models.serving();
            let mut gone = before
                .iter()
                .filter(|model| agent.models.desired.slots.contains_key(model));
            if let Some(model) = gone.find(|model| !now.contains(model)) {
                let text = format!("{model} answers no requests any more, and nothing crashed");
                shared.fail(Some(self.device), text);
            }
        }
        self.after(done, shared);
    }

    fn started(&mut self, package: PackageId, epoch: Epoch, shared: &mut Shared) -> Fact {
        let Some(agent) = &mut self.agent else {
            return Fact::StartFailed(package, failure(FailureClass::WorkerStart));
        };
        let models = &mut agent.models;
        models.workers_made += 1;
        let worker = WorkerId::new(models.workers_made);
        models
            .workers
            .insert(worker, (package.clone(), Process::Loaded));
        if quality_of(&package, shared) == Quality::CrashesEarly {
            let after: Ms = shared.random.between(50, 2_000);
            let dies = Event::WorkerDies(self.device, epoch, worker);
            shared.queue.at(shared.now + after, dies);
        }
        Fact::WorkerReady(package, worker)
    }

    fn golden(
        &mut self,
        package: PackageId,
        worker: WorkerId,
        shared: &mut Shared,
    ) -> Option<Fact> {
        let ignored = self.has(shared, Bug::GoldenIgnored);
        let quality = quality_of(&package, shared);
        let entry = self.agent.as_mut()?.models.workers.get_mut(&worker)?;
        if quality == Quality::FailsGolden && !ignored {
            let failure = failure(FailureClass::Golden);
            return Some(Fact::GoldenFailed(package, worker, failure));
        }
        if entry.1 == Process::Loaded {
            entry.1 = Process::Proven;
        }
        Some(Fact::GoldenPassed(package, worker))
    }

    /// A worker ends without being told to.
    pub(crate) fn worker_dies(&mut self, epoch: Epoch, worker: WorkerId, shared: &mut Shared) {
        if !self.runs(epoch) {
            return;
        }
        let Some(agent) = &mut self.agent else { return };
        let models = &mut agent.models;
        let Some((package, _)) = models.workers.remove(&worker) else {
            return;
        };
        let end = Step::EndWorker(package.clone(), worker);
        models.pending.retain(|_, step| *step != end);
        let model = package.version.model.clone();
        let served = models
            .serving
            .get(&model)
            .is_some_and(|(_, own)| *own == worker);
        if served {
            models.serving.remove(&model);
            models.crashed.insert(model.clone(), shared.now);
        }
        shared.note(
            self.device,
            "a worker dies",
            number_of(&package) as u64,
            worker.get(),
        );
        let crash = failure(FailureClass::WorkerCrash);
        self.observe(Fact::WorkerGone(package, worker, crash), shared);
        let done = self.reconcile(shared);
        if served && done.is_ok() {
            self.check_taken_over(&model, shared);
        }
        self.after(done, shared);
    }

    /// When what served crashes, a warm one takes over at once.
    fn check_taken_over(&self, model: &ModelName, shared: &mut Shared) {
        let Some(agent) = &self.agent else { return };
        let models = &agent.models;
        let spare = models.workers.values().any(|(package, process)| {
            package.version.model == *model && *process == Process::Proven
        });
        let wanted = models.desired.slots.contains_key(model);
        if spare && wanted && models.serves(model).is_none() {
            let text = format!("what served {model} crashed, and the warm one does not take over");
            shared.fail(Some(self.device), text);
        }
    }

    /// One worker, picked by `pick`; `None` when there is none.
    #[must_use]
    pub(crate) fn a_worker(&self, pick: u64) -> Option<(Epoch, WorkerId)> {
        let agent = self.agent.as_ref()?;
        let count = u64::try_from(agent.models.workers.len()).ok()?;
        let nth = usize::try_from(pick.checked_rem(count)?).ok()?;
        let worker = agent.models.workers.keys().nth(nth)?;
        Some((agent.epoch, *worker))
    }
}
