//! The run: takes one event after the other until everything has converged or an invariant breaks.

mod faults;
mod people;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::rc::Rc;

use fleet_core::Snapshot;
use fleet_core::fleet::pipeline::PipelineSupport;
use fleet_core::fleet::{Liveness, Memory, Node, NodeStatus, Phase, Report};
use millwright_proto::ids::NodeUid;

use crate::check::{self, Totals};
use crate::cloud::{Cloud, Store};
use crate::event::{DAY, Device, Document, Down, Event, HOUR, MINUTE, Ms, Up, WireId};
use crate::node::Machine;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::seam::Bug;
use crate::shared::Shared;
use crate::trace::{Printing, Trace};

/// After the last fault everything must have converged within this time: the longest pauses on the way
/// are an hour (a device sent away) and a few hours (a person's decision).
const CONVERGES_WITHIN: Ms = 2 * DAY;

/// How often it is looked whether everything has converged.
const LOOKS_EVERY: Ms = 10 * MINUTE;

/// More events than any honest run has: a run that does not advance is broken too.
const EVENTS_MAX: u64 = 20_000_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How long faults go on.
    pub days: u64,
    /// How many devices; `None` draws that too.
    pub devices: Option<NonZeroU64>,
    /// A wrong decision, on purpose.
    pub bug: Bug,
    /// What to print on the way.
    pub printing: Printing,
}

/// A run that kept every invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Passed {
    /// Hash over the event log: the same for every run of the seed.
    pub hash: u64,
    /// Events handled.
    pub events: u64,
    /// Devices of the fleet.
    pub devices: usize,
    /// How long after the last fault everything had converged.
    pub converged_ms: Ms,
    /// What became of the records.
    pub totals: Totals,
}

/// A run in which an invariant broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// The number of the event.
    pub event: u64,
    /// When it was.
    pub at: Ms,
    /// Whose; `None` when it is the fleet's.
    pub device: Option<Device>,
    /// What does not hold.
    pub what: String,
    /// The last events of the device, then of the cloud.
    pub last: Vec<String>,
}

/// See the module.
pub(crate) struct World {
    pub(crate) shared: Shared,
    pub(crate) machines: Vec<Machine>,
    pub(crate) cloud: Cloud,
    /// When the last backup was taken.
    backed_up: Ms,
}

/// Runs one seed.
///
/// # Errors
/// The first invariant that breaks.
pub fn run(options: Options) -> Result<Passed, Box<Failed>> {
    let mut world = World::new(options);
    world.go().map_err(|()| {
        let (device, what) = world.shared.broken.take().unwrap_or_default();
        let mut last = world.shared.trace.last(device);
        if device.is_some() {
            last.push("the cloud:".to_owned());
            last.extend(world.shared.trace.last(None));
        }
        Box::new(Failed {
            seed: options.seed,
            event: world.shared.trace.number,
            at: world.shared.now,
            device,
            what,
            last,
        })
    })
}

impl World {
    fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed);
        let scenario = Scenario::draw(&mut random, options.days, options.devices);
        let trace = Trace::new(options.printing);
        let mut shared = Shared::new(scenario, random, trace, options.bug);
        let mut store = Store::default();
        let mut machines = Vec::new();
        for device in 0..shared.sites.len() {
            let uid = shared.fresh_uid(device);
            let lineage = shared.fresh();
            let machine = Machine::new(device, uid, lineage);
            let name: millwright_proto::ids::NodeName =
                format!("n{device}").parse().expect("a letter and a number");
            store.uids.insert(uid, name.clone());
            let node = enrolled(&machine, shared.sites[device]);
            store.snapshot.nodes.insert(name, node);
            machines.push(machine);
            let at = shared.random.below(MINUTE);
            shared.queue.at(at, Event::Boot(device));
        }
        versions(&shared, &mut store.snapshot);
        for (index, scheduled) in shared.scenario.faults.iter().enumerate() {
            shared.queue.at(scheduled.at, Event::Begins(index));
            shared.queue.at(scheduled.until, Event::Ends(index));
        }
        for (index, intent) in shared.scenario.intents.iter().enumerate() {
            shared.queue.at(intent.at, Event::Intent(index));
        }
        shared.queue.at(HOUR, Event::Round);
        Self {
            shared,
            machines,
            cloud: Cloud::new(store),
            backed_up: 0,
        }
    }

    fn go(&mut self) -> Result<Passed, ()> {
        let end = self.shared.scenario.end;
        let mut looks_at = end + LOOKS_EVERY;
        while let Some((at, event)) = self.shared.queue.pop() {
            self.shared.trace.number += 1;
            if at >= looks_at {
                looks_at = at + LOOKS_EVERY;
                if check::settled(&self.cloud, &self.machines, &self.shared).is_none() {
                    return self.finish(at);
                }
            }
            self.shared.now = at;
            if at > end + CONVERGES_WITHIN || self.shared.trace.number > EVENTS_MAX {
                let missing = check::settled(&self.cloud, &self.machines, &self.shared);
                if let Some((device, what)) = missing {
                    let text = format!("two days after the last fault {what}");
                    self.shared.fail(Some(device), text);
                }
                return Err(());
            }
            self.handle(event);
            if self.shared.broken.is_some() {
                return Err(());
            }
        }
        self.shared
            .fail(None, "nothing happens any more".to_owned());
        Err(())
    }

    fn finish(&mut self, at: Ms) -> Result<Passed, ()> {
        let totals = check::books(&self.cloud, &self.machines, &mut self.shared);
        if self.shared.broken.is_some() {
            return Err(());
        }
        Ok(Passed {
            hash: self.shared.trace.hash(),
            events: self.shared.trace.number,
            devices: self.machines.len(),
            converged_ms: at - self.shared.scenario.end,
            totals,
        })
    }

    fn arrives(&mut self, wire: WireId, message: Down) {
        let Self {
            shared,
            machines,
            cloud,
            ..
        } = self;
        let open = shared.wires.get(&wire).filter(|wire| wire.device_open);
        // A broken connection loses what was under way, or not.
        let passes = open.filter(|wire| !wire.cut || wire.late.is_some());
        if let Some(device) = passes.map(|wire| wire.device) {
            check::promise(cloud, &machines[device], wire, &message, shared);
            machines[device].touch(shared);
            machines[device].receives(wire, message, shared);
        }
    }

    /// An older desired state comes once more, in whatever session there is now.
    fn again(&mut self, uid: NodeUid, document: Rc<Document>, life: u64) {
        let Self {
            shared, machines, ..
        } = self;
        let alive = shared.network.life == life;
        let session = |device: &Device| machines[*device].agent.as_ref()?.link.live_wire();
        let wire = shared.device_of(uid).filter(|_| alive);
        if let Some((device, wire)) = wire.and_then(|device| Some((device, session(&device)?)))
            && machines[device].uid == uid
        {
            machines[device].touch(shared);
            machines[device].receives(wire, Down::Desired(document), shared);
        }
    }

    fn handle(&mut self, event: Event) {
        let Self {
            shared,
            machines,
            cloud,
            ..
        } = self;
        match event {
            Event::Wake(device, epoch) => {
                if machines[device].runs(epoch) {
                    machines[device].touch(shared);
                    machines[device].wake(epoch, shared);
                }
            }
            Event::StepEnds(device, epoch, token) => {
                machines[device].touch(shared);
                machines[device].step_ends(epoch, token, shared);
            }
            Event::WorkerDies(device, epoch, worker) => {
                machines[device].touch(shared);
                machines[device].worker_dies(epoch, worker, shared);
            }
            Event::Dialled(device, epoch, transport) => {
                machines[device].touch(shared);
                machines[device].dialled(epoch, transport, shared);
            }
            Event::ToCloud(wire, message) => {
                if self.passes(wire, &message) {
                    self.check_not_overtaken(&message);
                    self.cloud.receives(wire, message, &mut self.shared);
                    self.cloud_down();
                }
            }
            Event::ToDevice(wire, message) => self.arrives(wire, message),
            Event::Again(uid, document, life) => self.again(uid, document, life),
            Event::DeviceNotices(wire) => {
                if let Some(device) = shared.wires.get(&wire).map(|wire| wire.device) {
                    machines[device].touch(shared);
                    machines[device].notices(wire, shared);
                }
            }
            Event::CloudNotices(wire) => cloud.notices(wire, shared),
            Event::Boot(device) => machines[device].boot(shared),
            Event::Kill(device, epoch) => {
                if machines[device].runs(epoch) && machines[device].fuse.is_some() {
                    machines[device].touch(shared);
                    machines[device].die(shared);
                }
            }
            Event::MustServe(device, epoch) => machines[device].must_serve(epoch, shared),
            Event::MustBeCut(uid) => {
                if cloud.has_session(uid) {
                    let device = shared.device_of(uid);
                    shared.fail(device, "a revoked node has a session".to_owned());
                }
            }
            Event::Plan => {
                cloud.plan(machines, shared);
                self.cloud_down();
            }
            Event::CloudUp => cloud.start(shared),
            Event::Begins(index) => self.begins(index),
            Event::Ends(index) => self.ends(index),
            Event::Intent(index) => {
                let intent = shared.scenario.intents[index];
                cloud.intend(&intent, shared);
            }
            Event::Round => self.round(),
        }
    }

    /// A restored cloud must not give a number to a node that may be ahead of it before it has heard how far
    /// the node is: else the node would follow as if nothing had happened.
    fn check_not_overtaken(&mut self, message: &Up) {
        let Up::Hello(hello) = message else {
            return;
        };
        let said = hello.applied.map(|applied| applied.0);
        let stored = self.cloud.stored(hello.uid).map(|stored| stored.0);
        let ahead = self
            .machines
            .iter_mut()
            .find(|machine| machine.ahead && machine.uid == hello.uid);
        let Some(machine) = ahead else {
            return;
        };
        if stored <= said {
            machine.ahead = !machine.decided;
            return;
        }
        let lineage = machine.disk.outbox.lineage;
        if !self.shared.books.facts(lineage).contested {
            let text = format!("a restored cloud is at {stored:?} before it heard of {said:?}");
            self.shared.fail(Some(machine.device), text);
        }
    }

    /// Whether a message gets to the cloud; what comes late is put back.
    fn passes(&mut self, id: u64, message: &Up) -> bool {
        let Some(wire) = self.shared.wires.get(&id).filter(|wire| wire.cloud_open) else {
            return false;
        };
        match (wire.cut, wire.late) {
            (false, _) => true,
            (true, None) => false,
            (true, Some(until)) if until > self.shared.now => {
                let late = Event::ToCloud(id, message.clone());
                self.shared.queue.at(until, late);
                false
            }
            (true, Some(_)) => true,
        }
    }

    /// A cloud that died at its fuse starts again.
    fn cloud_down(&mut self) {
        if self.shared.network.cloud_down && !self.cloud.restarts {
            self.cloud.restarts = true;
            let after = self.shared.random.skewed(1_000, HOUR);
            let at = self.shared.now + after;
            self.shared.queue.at(at, Event::CloudUp);
        }
    }
}

fn enrolled(machine: &Machine, site: u64) -> Node {
    Node {
        uid: machine.uid,
        site: format!("s{site}").parse().expect("a letter and a number"),
        labels: BTreeMap::new(),
        phase: Phase::Enrolled,
        liveness: Liveness::Silent { since_ms: None },
        platform: None,
        pipelines: PipelineSupport::Unknown,
        certificate_expires_ms: None,
        report: Report::default(),
        desired: None,
        memory: Memory::Whole,
        reassert: None,
        adopt: None,
        status: NodeStatus::default(),
    }
}

fn versions(shared: &Shared, snapshot: &mut Snapshot) {
    for release in &shared.scenario.releases {
        let package = &release.package;
        snapshot
            .versions
            .insert(package.version.clone(), package.digest);
    }
    snapshot.summary_window_ms = 60_000;
}
