//! One device: what its disk holds, and the agent that runs on it, if one does.
//!
//! The agent's decisions are edge-core's; this module does for them what the real agent's shell does,
//! in its order: decide, make durable, take over, send. A kill may fall between any two of these:
//! [`Machine::step`] counts them and gives [`Killed`] where the scenario wants it, and everything in
//! [`Agent`] is gone then.

mod desired;
mod link;
mod models;
mod outbox;

use std::collections::{BTreeMap, BTreeSet};

use edge_core::models::PackageId;
use millwright_proto::ids::{ModelName, NodeUid};

use crate::event::{Device, Epoch, Event, Fence, MINUTE, Ms};
use crate::seam::Bug;
use crate::shared::Shared;

pub(crate) use desired::InForce;
pub(crate) use link::Link;
pub(crate) use models::Models;
pub(crate) use outbox::{Outbox, Read, Rows};

/// How long after a boot without an uplink what served before must serve again: verifying, loading and
/// the golden set take at most two minutes here.
const SERVES_WITHIN: Ms = 5 * MINUTE;

/// The agent was killed: nothing it would do next happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Killed;

/// What survives a power cut.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The outbox store.
    pub outbox: Rows,
    /// The two copies of the desired state in force.
    pub desired: [Option<InForce>; 2],
    /// Verified packages.
    pub packages: BTreeSet<PackageId>,
    /// Per model the packages activated last.
    pub activated: BTreeMap<ModelName, Vec<PackageId>>,
}

/// What a run of the agent has in memory.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Which run.
    pub epoch: Epoch,
    /// When it started.
    pub started: Ms,
    /// The outbox as read from the disk.
    pub outbox: Outbox,
    /// The link.
    pub link: Link,
    /// Desired and observed state.
    pub models: Models,
    /// When its own timers look next.
    pub wakes_at: Ms,
}

/// Whether somebody has switched a device off for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// It runs, or will again.
    On,
    /// It is gone: a copy of a disk that was found out.
    Gone,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Its index.
    pub device: Device,
    /// What its certificate says.
    pub uid: NodeUid,
    /// Its memory on disk.
    pub disk: Disk,
    /// The agent; `None` while none runs.
    pub agent: Option<Agent>,
    /// Whether it exists.
    pub power: Power,
    /// What answered requests when the agent ended last.
    pub served: BTreeSet<ModelName>,
    /// Steps left before the agent is killed.
    pub fuse: Option<u32>,
    /// What is sent next is sent once more before it can be acknowledged.
    pub sends_again: bool,
    /// How the wall clock differs from the truth.
    pub clock_error_ms: i64,
    /// Generation, digest, and what the desired state in force was the highest of.
    pub highest: u64,
    /// Set when a restore left the cloud behind this device, until an operator decides.
    pub ahead: bool,
    /// The restored cloud remembers what an operator decided about what this device has: once it has heard from the
    /// device, it goes by that.
    pub decided: bool,
    /// Models, releases and generations that were active here, for the invariants.
    pub was_active: BTreeSet<(ModelName, PackageId, u64)>,
    /// Releases given up here, and under which generation.
    pub gave_up: BTreeSet<(PackageId, u64)>,
    /// Welcomes it got under its present name.
    pub welcomes: u64,
    /// Why the cloud sent this device away last, if it did.
    pub fenced: Option<Fence>,
    /// Notices that are not in the journal yet.
    journal: u64,
    epochs: Epoch,
}

impl Machine {
    /// A device that was just enrolled and never started.
    #[must_use]
    pub(crate) fn new(device: Device, uid: NodeUid, lineage: u64) -> Self {
        Self {
            device,
            uid,
            disk: Disk {
                outbox: Rows::fresh(lineage),
                desired: [None, None],
                packages: BTreeSet::new(),
                activated: BTreeMap::new(),
            },
            agent: None,
            power: Power::On,
            served: BTreeSet::new(),
            fuse: None,
            sends_again: false,
            clock_error_ms: 0,
            highest: 0,
            ahead: false,
            decided: false,
            was_active: BTreeSet::new(),
            gave_up: BTreeSet::new(),
            welcomes: 0,
            fenced: None,
            journal: 0,
            epochs: 0,
        }
    }

    /// A device that runs a copy of this one's disk.
    #[must_use]
    pub(crate) fn copy(&self, device: Device) -> Self {
        let mut copy = Self::new(device, self.uid, 0);
        copy.disk = self.disk.clone();
        copy.highest = self.highest;
        copy
    }

    /// A person gave it a fresh disk and another name.
    pub(crate) fn wiped(&mut self, uid: NodeUid, lineage: u64) {
        let epochs = self.epochs;
        *self = Self::new(self.device, uid, lineage);
        self.epochs = epochs;
    }

    /// One durable step or send: the place of a kill.
    pub(crate) fn step(&mut self) -> Result<(), Killed> {
        match &mut self.fuse {
            None => Ok(()),
            Some(0) => Err(Killed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// The agent starts.
    pub(crate) fn boot(&mut self, shared: &mut Shared) {
        if self.agent.is_some() || self.power == Power::Gone {
            return;
        }
        self.fuse = None;
        self.epochs += 1;
        let epoch = self.epochs;
        shared.note(self.device, "boot", epoch, 0);
        let outbox = Outbox::open(self, shared);
        let models = Models::restore(self, shared);
        let link = Link::new(self.disk.outbox.worked, shared.now);
        self.agent = Some(Agent {
            epoch,
            started: shared.now,
            outbox,
            link,
            models,
            wakes_at: shared.now,
        });
        shared.queue.at(
            shared.now + SERVES_WITHIN,
            Event::MustServe(self.device, epoch),
        );
        let done = self.reconcile(shared);
        self.after(done, shared);
    }

    /// Brings the windows up to the moment, before anything happens to the device.
    pub(crate) fn touch(&mut self, shared: &mut Shared) {
        if let Err(Killed) = self.cut_windows(shared) {
            self.die(shared);
        }
    }

    /// Requests of a release in the open window.
    #[must_use]
    pub(crate) fn open_requests(&self, release: u8) -> u64 {
        self.agent
            .as_ref()
            .map_or(0, |agent| agent.models.open_requests(release))
    }

    /// What every event of a running agent ends with: the next look, or the end of a killed agent.
    pub(crate) fn after(&mut self, done: Result<(), Killed>, shared: &mut Shared) {
        match done {
            Ok(()) => {
                if let Err(Killed) = self.look(shared) {
                    self.die(shared);
                }
            }
            Err(Killed) => self.die(shared),
        }
    }

    /// The agent's own timers: cuts windows, dials, reconciles, sends what waits.
    fn look(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        self.cut_windows(shared)?;
        self.pump(shared)?;
        let dial_at = self.dial(shared)?;
        let calm_at = shared.next_look(self.device);
        let device = self.device;
        let Some(agent) = self.agent.as_mut() else {
            return Ok(());
        };
        let waits_at = agent.models.wakeup(shared.now - agent.started);
        let waits_at = waits_at.map_or(Ms::MAX, |at| at + agent.started);
        let at = dial_at.min(calm_at).min(waits_at).max(shared.now + 1);
        if agent.wakes_at <= shared.now || at < agent.wakes_at {
            agent.wakes_at = at;
            shared.queue.at(at, Event::Wake(device, agent.epoch));
        }
        Ok(())
    }

    /// A timer of run `epoch` is due.
    pub(crate) fn wake(&mut self, epoch: Epoch, shared: &mut Shared) {
        let due = self
            .agent
            .as_ref()
            .is_some_and(|agent| agent.epoch == epoch && agent.wakes_at == shared.now);
        if due {
            let done = self.reconcile(shared);
            self.after(done, shared);
        }
    }

    /// Whether run `epoch` still is the one.
    #[must_use]
    pub(crate) fn runs(&self, epoch: Epoch) -> bool {
        self.agent
            .as_ref()
            .is_some_and(|agent| agent.epoch == epoch)
    }

    /// Kill -9, or the power goes: what is in memory is gone. It starts again in a few seconds.
    pub(crate) fn die(&mut self, shared: &mut Shared) {
        let restart = shared.random.between(200, 20_000);
        self.stop(shared);
        shared
            .queue
            .at(shared.now + restart, Event::Boot(self.device));
    }

    /// Ends the agent without starting it again.
    pub(crate) fn stop(&mut self, shared: &mut Shared) {
        self.fuse = None;
        let Some(agent) = self.agent.take() else {
            return;
        };
        shared.note(self.device, "the agent is gone", agent.epoch, 0);
        self.served = agent.models.serving();
        agent.models.lose_open_window(&mut shared.books);
        if let Some(wire) = agent.link.wire() {
            shared.device_closes(wire);
        }
    }

    /// After a boot without disturbance, what served before serves again, uplink or not. A crash in between disturbs,
    /// and the time begins again.
    pub(crate) fn must_serve(&mut self, epoch: Epoch, shared: &mut Shared) {
        let Some(agent) = self.agent.as_ref().filter(|agent| agent.epoch == epoch) else {
            return;
        };
        self.served
            .retain(|model| !agent.models.may_be_silent(model));
        let due = self.served.iter().map(|model| {
            let disturbed = agent.models.crashed(model).unwrap_or(agent.started);
            (disturbed + SERVES_WITHIN, model)
        });
        match due.min() {
            Some((at, model)) if at <= shared.now => {
                let text =
                    format!("{model} served before the restart and does not five minutes after it");
                shared.fail(Some(self.device), text);
            }
            Some((at, _)) => {
                let again = Event::MustServe(self.device, epoch);
                shared.queue.at(at, again);
            }
            None => {}
        }
    }

    /// Whether this run has the deliberate mistake.
    pub(crate) fn has(&self, shared: &Shared, bug: Bug) -> bool {
        shared.bug == bug
    }
}
