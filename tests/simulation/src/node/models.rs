//! The models of a device: edge-core's reconcile, with an executor whose steps take time and fail.

mod executor;
mod windows;

pub(super) use windows::add;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_core::desired::{Desired, DesiredSlot, Gap};
use edge_core::models::{Fact, Notice, Observed, PackageId, WorkerId};
use edge_core::reconcile::report::{Progress, report};
use edge_core::reconcile::{Step, next_wakeup, reconcile};
use edge_core::summary::Aggregator;
use fleet_core::desired;
use fleet_core::fleet::{Extent, Report, SlotReport, SlotState};
use millwright_proto::Digest;
use millwright_proto::ids::{Generation, ModelName, ModelVersion};

use super::{InForce, Killed, Machine};
use crate::event::{Device, Ms};
use crate::scenario::Quality;
use crate::shared::Shared;

/// How far a worker process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Loaded,
    Proven,
    Draining,
    Ending,
}

/// What a run of the agent knows of its models.
#[derive(Debug)]
pub(crate) struct Models {
    desired: Desired,
    observed: Observed,
    workers: BTreeMap<WorkerId, (PackageId, Process)>,
    serving: BTreeMap<ModelName, (PackageId, WorkerId)>,
    /// When what served last died of each model.
    crashed: BTreeMap<ModelName, Ms>,
    pending: BTreeMap<u64, Step>,
    workers_made: u64,
    steps_begun: u64,
    aggregator: Aggregator,
    cut_at: Ms,
}

impl Models {
    /// Takes over what the last run left on disk.
    pub(super) fn restore(machine: &mut Machine, shared: &mut Shared) -> Self {
        let disk = &mut machine.disk;
        disk.repair_desired();
        let desired = disk.in_force().map(wish).unwrap_or_default();
        let mut observed = Observed::default();
        let mut known: BTreeSet<PackageId> = desired
            .slots
            .values()
            .map(|slot| slot.package.clone())
            .collect();
        for (model, activated) in &disk.activated {
            known.extend(activated.iter().cloned());
            observed.restore_activated(model, activated.clone());
        }
        disk.packages.retain(|package| known.contains(package));
        for package in &disk.packages {
            observed.found_on_disk(package.clone());
        }
        observed.adopt(&desired);
        Self {
            desired,
            observed,
            workers: BTreeMap::new(),
            serving: BTreeMap::new(),
            crashed: BTreeMap::new(),
            pending: BTreeMap::new(),
            workers_made: 0,
            steps_begun: 0,
            aggregator: windows::open(shared.now, machine.clock_error_ms),
            cut_at: shared.now,
        }
    }

    /// Takes over a desired state that is in force now.
    pub(super) fn adopt(&mut self, in_force: &InForce, shared: &mut Shared, device: Device) {
        self.desired = wish(in_force);
        self.observed.adopt(&self.desired);
        let number = in_force.generation.get();
        shared.note(
            device,
            "desired models",
            self.desired.slots.len() as u64,
            number,
        );
    }

    /// Models that answer requests.
    #[must_use]
    pub(crate) fn serving(&self) -> BTreeSet<ModelName> {
        self.serving.keys().cloned().collect()
    }

    /// What answers the requests of `model`.
    #[must_use]
    pub(crate) fn serves(&self, model: &ModelName) -> Option<&PackageId> {
        self.serving.get(model).map(|(package, _)| package)
    }

    /// When what served last died of `model`: another one takes its time to come up. Unlike the count of crashes it
    /// outlives a change of what is wanted.
    #[must_use]
    pub(crate) fn crashed(&self, model: &ModelName) -> Option<Ms> {
        self.crashed.get(model).copied()
    }

    /// Whether `model` serves, or need not.
    #[must_use]
    pub(crate) fn may_be_silent(&self, model: &ModelName) -> bool {
        let wanted = self.desired.slots.contains_key(model);
        let steady = self
            .observed
            .slots
            .get(model)
            .is_some_and(|slot| slot.crashes.is_empty());
        !wanted || !steady || self.serving.contains_key(model)
    }

    /// Whether the desired state is reached: everything wanted serves.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        let wanted = self.desired.slots.iter();
        let mut missing = wanted.filter(|(model, slot)| self.serves(model) != Some(&slot.package));
        missing.next().is_none() && self.pending.is_empty()
    }

    /// The uplink is back.
    pub(super) fn hurry(&mut self, up: Ms) {
        self.observed.hurry_downloads(Duration::from_millis(up));
    }

    /// When reconcile is to be asked again.
    #[must_use]
    pub(super) fn wakeup(&self, up: Ms) -> Option<Ms> {
        let at = next_wakeup(&self.observed, Duration::from_millis(up))?;
        // Rounded up: a millisecond early would find nothing due.
        Some(u64::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap_or(Ms::MAX))
    }

    /// What the session tells of all this.
    pub(super) fn report(&self, applied: Option<(Generation, Digest)>) -> Report {
        let slots = report(&self.desired, &self.observed).into_iter();
        let slots = slots.map(|slot| {
            let state = match slot.progress {
                Progress::Pending => SlotState::Pending,
                Progress::Staged => SlotState::Staged,
                Progress::Verified => SlotState::Verified,
                Progress::Warmed => SlotState::Warmed,
                Progress::Active => SlotState::Active,
                Progress::Failed => SlotState::Failed,
            };
            let told = SlotReport {
                version: slot.wanted.version,
                state,
                active: slot.active,
                reason: slot
                    .failure
                    .map(|failure| failure.class.reason().to_owned())
                    .unwrap_or_default(),
                message: String::new(),
            };
            (slot.wanted.model, told)
        });
        Report {
            applied,
            extent: Extent::Models,
            slots: slots.collect(),
            pipelines: BTreeMap::new(),
            conditions: BTreeMap::new(),
        }
    }
}

/// What a document asks for, in edge-core's words.
fn wish(in_force: &InForce) -> Desired {
    let slots = in_force.content.slots.iter().map(|(model, slot)| {
        let version = ModelVersion {
            model: model.clone(),
            version: slot.version.clone(),
        };
        let package = PackageId {
            version,
            digest: slot.package,
        };
        let prove_for = Duration::from_millis(slot.prove_for_ms.into());
        let gap = match slot.gap {
            desired::Gap::Refused => Gap::Refused,
            desired::Gap::Allowed => Gap::Allowed,
        };
        let slot = DesiredSlot {
            package,
            prove_for,
            gap,
        };
        (model.clone(), slot)
    });
    Desired {
        generation: in_force.generation,
        slots: slots.collect(),
    }
}

/// The number of a release in the catalog.
pub(super) fn number_of(package: &PackageId) -> usize {
    package
        .version
        .version
        .as_str()
        .parse()
        .expect("versions of the scenario are numbers")
}

/// How a package behaves.
pub(super) fn quality_of(package: &PackageId, shared: &Shared) -> Quality {
    shared.scenario.releases[number_of(package)].quality
}

impl Machine {
    /// Something happened to the models.
    pub(super) fn observe(&mut self, fact: Fact, shared: &mut Shared) {
        let Some(agent) = &mut self.agent else { return };
        let up = Duration::from_millis(shared.now - agent.started);
        let models = &mut agent.models;
        let notices = models.observed.observe(fact, &models.desired, up);
        let generation = models.desired.generation.get();
        for notice in notices {
            let what = match &notice {
                Notice::Activated { package, .. } => {
                    let model = package.version.model.clone();
                    self.was_active.insert((model, package.clone(), generation));
                    ("activated", number_of(package))
                }
                Notice::Failed { package, .. } => {
                    self.gave_up.insert((package.clone(), generation));
                    ("failed", number_of(package))
                }
                Notice::RolledBack { package, .. } => {
                    self.gave_up.insert((package.clone(), generation));
                    ("rolled back", number_of(package))
                }
                Notice::Withdrawn { package } => ("withdrawn", number_of(package)),
                Notice::Delayed { package, .. } => ("delayed", number_of(package)),
                Notice::WorkerCrashed { package, .. } => ("worker crashed", number_of(package)),
                Notice::WorkerWorn { package, .. } => ("worker worn", number_of(package)),
                Notice::MadeRoom { package } => ("made room", number_of(package)),
            };
            shared.note(self.device, what.0, what.1 as u64, generation);
            self.journal += 1;
        }
    }

    /// Begins every step that may begin, then keeps and tells what came of it.
    pub(super) fn reconcile(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let up = Duration::from_millis(shared.now - agent.started);
        while let Some(agent) = &self.agent {
            let models = &agent.models;
            let steps = reconcile(&models.desired, &models.observed, up);
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.begin(step, shared)?;
            }
        }
        self.note_active();
        self.keep_activated()?;
        let notices = std::mem::take(&mut self.journal);
        if notices > 0 {
            let record = (200, [(0, 0); 4]);
            let records = vec![record; usize::try_from(notices).unwrap_or(0)];
            self.append(edge_core::outbox::Stream::Events, &records, shared)?;
        }
        self.tell(shared)
    }

    /// What is active counts as active under the generation in force too.
    fn note_active(&mut self) {
        let Some(agent) = &self.agent else { return };
        let generation = agent.models.desired.generation.get();
        for (model, (package, _)) in &agent.models.serving {
            let active = (model.clone(), package.clone(), generation);
            if !self.was_active.contains(&active) {
                self.was_active.insert(active);
            }
        }
    }

    /// Stores the order of activations when it changed.
    fn keep_activated(&mut self) -> Result<(), Killed> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let slots = agent.models.observed.slots.iter();
        let kept = slots.filter(|(_, slot)| !slot.activated.is_empty());
        let same = kept.clone().count() == self.disk.activated.len()
            && kept
                .clone()
                .all(|(model, slot)| self.disk.activated.get(model) == Some(&slot.activated));
        if same {
            return Ok(());
        }
        let order = kept.map(|(model, slot)| (model.clone(), slot.activated.clone()));
        let order = order.collect();
        self.step()?;
        self.disk.activated = order;
        Ok(())
    }
}
