//! What devices and the cloud share in a run: the clock, chance, the queue, the network, the books.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use edge_core::link::Transport;
use millwright_proto::ids::NodeUid;

use crate::books::Books;
use crate::event::{Device, Document, Down, Event, HOUR, MINUTE, Ms, Queue, Up, WireId};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::seam::Bug;
use crate::trace::Trace;

/// How long around a fault every minute is lived through one by one.
const TURBULENT: Ms = 6 * MINUTE;

/// What a live connection is skipped through at most: the protocol lets 64 records be under way.
const SKIP_MAX: Ms = HOUR;

/// Desired states of a node that may arrive again.
const DOCUMENTS_MAX: usize = 4;

/// A connection: ordered in both directions, until it breaks.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Whose it is.
    pub device: Device,
    /// What carries it.
    pub transport: Transport,
    /// Whether the device still listens.
    pub device_open: bool,
    /// Whether the cloud still listens.
    pub cloud_open: bool,
    /// Broken: nothing more is carried.
    pub cut: bool,
    /// The life of the cloud it was made in; a restore begins another.
    pub life: u64,
    /// Broken, but what the device had sent comes through then.
    pub late: Option<Ms>,
    up_at: Ms,
    down_at: Ms,
}

/// What gets through.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Faults per device that stop everything.
    pub down: Vec<u32>,
    /// Faults per device that stop datagrams.
    pub no_udp: Vec<u32>,
    /// Faults per site that stop everything.
    pub site_down: Vec<u32>,
    /// The cloud does not run.
    pub cloud_down: bool,
    /// How often the cloud was restored.
    pub life: u64,
    /// The desired states every node was sent last.
    documents: BTreeMap<NodeUid, VecDeque<Rc<Document>>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The moment.
    pub now: Ms,
    /// Chance.
    pub random: Random,
    /// What comes.
    pub queue: Queue,
    /// What happened.
    pub trace: Trace,
    /// What was committed and what became of it.
    pub books: Books,
    /// What the seed stands for.
    pub scenario: Scenario,
    /// What gets through.
    pub network: Network,
    /// The connections by number.
    pub wires: BTreeMap<WireId, Wire>,
    /// A wrong decision, on purpose.
    pub bug: Bug,
    /// The first invariant that did not hold: whose, and what.
    pub broken: Option<(Option<Device>, String)>,
    /// Site of every device, copies of disks included.
    pub sites: Vec<u64>,
    /// When faults that concern a device begin or end, in order.
    pub horizons: Vec<Vec<Ms>>,
    /// Which device a name belongs to.
    pub owners: BTreeMap<NodeUid, Device>,
    wires_made: u64,
    names_drawn: u64,
}

impl Shared {
    /// Nothing happened yet.
    #[must_use]
    pub(crate) fn new(scenario: Scenario, random: Random, trace: Trace, bug: Bug) -> Self {
        let sites = scenario.sites.clone();
        let mut shared = Self {
            now: 0,
            random,
            queue: Queue::default(),
            trace,
            books: Books::default(),
            network: Network {
                down: vec![0; sites.len()],
                no_udp: vec![0; sites.len()],
                site_down: vec![0; 8],
                cloud_down: false,
                life: 0,
                documents: BTreeMap::new(),
            },
            wires: BTreeMap::new(),
            bug,
            broken: None,
            horizons: Vec::new(),
            sites,
            scenario,
            owners: BTreeMap::new(),
            wires_made: 0,
            names_drawn: 0,
        };
        for device in 0..shared.sites.len() {
            let horizon = shared.horizon_of(device);
            shared.horizons.push(horizon);
        }
        shared
    }

    fn horizon_of(&self, device: Device) -> Vec<Ms> {
        let site = self.sites[device];
        let concerns = |fault: crate::scenario::Fault| match (fault, fault.device()) {
            (_, Some(other)) => other == device,
            (crate::scenario::Fault::SitePartition(other), None) => other == site,
            (_, None) => true,
        };
        let mut times: Vec<Ms> = self
            .scenario
            .faults
            .iter()
            .filter(|scheduled| concerns(scheduled.fault))
            .flat_map(|scheduled| [scheduled.at, scheduled.until])
            .collect();
        times.extend(self.scenario.intents.iter().map(|intent| intent.at));
        times.sort_unstable();
        times
    }

    /// Adds a device that is a copy of `original`.
    pub(crate) fn add_copy(&mut self, original: Device) -> Device {
        self.sites.push(self.sites[original]);
        self.scenario.quotas.push(self.scenario.quotas[original]);
        self.network.down.push(0);
        self.network.no_udp.push(0);
        self.horizons.push(self.horizons[original].clone());
        self.sites.len() - 1
    }

    /// The next moment at which a fault that concerns the device begins or ends.
    #[must_use]
    pub(crate) fn horizon(&self, device: Device) -> Ms {
        let times = &self.horizons[device];
        let next = times.partition_point(|at| *at <= self.now);
        times.get(next).copied().unwrap_or(Ms::MAX)
    }

    /// When a device whose life is calm looks again: in an hour, or before the next fault.
    pub(crate) fn next_look(&mut self, device: Device) -> Ms {
        let times = &self.horizons[device];
        let next = times.partition_point(|at| *at <= self.now);
        let last = next.checked_sub(1).map(|index| times[index]);
        let ahead = times.get(next).copied().unwrap_or(Ms::MAX);
        let just_was = last.is_some_and(|last| self.now - last < TURBULENT);
        if just_was || ahead - self.now < TURBULENT {
            return self.now + MINUTE;
        }
        let skip = self.random.between(SKIP_MAX / 4, SKIP_MAX);
        (self.now + skip).min(ahead - TURBULENT + 1)
    }

    /// Notes something about a device.
    pub(crate) fn note(&mut self, device: Device, what: &'static str, a: u64, b: u64) {
        self.trace.note(self.now, Some(device), what, a, b);
    }

    /// Notes something about the cloud.
    pub(crate) fn note_cloud(&mut self, what: &'static str, a: u64, b: u64) {
        self.trace.note(self.now, None, what, a, b);
    }

    /// An invariant does not hold. Only the first one counts: the rest follows from it.
    pub(crate) fn fail(&mut self, device: Option<Device>, what: String) {
        self.broken.get_or_insert((device, what));
    }

    /// The device that a name belongs to.
    #[must_use]
    pub(crate) fn device_of(&self, uid: NodeUid) -> Option<Device> {
        self.owners.get(&uid).copied()
    }

    /// The name of a device, never given before.
    pub(crate) fn fresh_uid(&mut self, device: Device) -> NodeUid {
        let mut bytes = [0; 16];
        bytes[0] = u8::try_from(device).unwrap_or(u8::MAX);
        bytes[8..].copy_from_slice(&self.fresh().to_be_bytes());
        let uid = NodeUid::from_bytes(bytes);
        self.owners.insert(uid, device);
        uid
    }

    /// A name nobody had before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.names_drawn += 1;
        self.names_drawn
    }

    /// Whether a dial of `transport` gets through now.
    #[must_use]
    pub(crate) fn reaches(&self, device: Device, transport: Transport) -> bool {
        let site = usize::try_from(self.sites[device]).unwrap_or(0);
        let up = self.network.down[device] == 0
            && self.network.site_down[site] == 0
            && !self.network.cloud_down;
        up && (transport == Transport::WebSocket || self.network.no_udp[device] == 0)
    }

    /// Makes a connection.
    pub(crate) fn connect(&mut self, device: Device, transport: Transport) -> WireId {
        self.wires_made += 1;
        let wire = Wire {
            device,
            transport,
            device_open: true,
            cloud_open: true,
            cut: false,
            life: self.network.life,
            late: None,
            up_at: self.now,
            down_at: self.now,
        };
        self.wires.insert(self.wires_made, wire);
        self.wires_made
    }

    fn latency(&mut self) -> Ms {
        match self.random.below(16) {
            0 => self.random.between(200, 4_000),
            _ => self.random.between(5, 200),
        }
    }

    /// Sends to the cloud.
    pub(crate) fn send_up(&mut self, wire: WireId, message: Up) {
        let delay = self.latency();
        let now = self.now;
        if let Some(sent) = self.wires.get_mut(&wire)
            && !sent.cut
        {
            sent.up_at = sent.up_at.max(now + delay);
            let at = sent.up_at;
            self.queue.at(at, Event::ToCloud(wire, message));
        }
    }

    /// Sends a desired state; one of those sent before may get to the node once more, hours later and in
    /// whatever session it has then.
    pub(crate) fn send_desired(&mut self, wire: WireId, uid: NodeUid, document: &Rc<Document>) {
        let kept = self.network.documents.entry(uid).or_default();
        if kept.len() == DOCUMENTS_MAX {
            kept.pop_front();
        }
        kept.push_back(Rc::clone(document));
        if self.random.one_in(4) {
            let index = self.random.index(kept.len());
            let again = Event::Again(uid, Rc::clone(&kept[index]), self.network.life);
            let after = self.random.skewed(10, 6 * HOUR);
            self.queue.at(self.now + after, again);
        }
        self.send_down(wire, Down::Desired(Rc::clone(document)));
    }

    /// Sends to the device.
    pub(crate) fn send_down(&mut self, wire: WireId, message: Down) {
        let delay = self.latency();
        let now = self.now;
        if let Some(sent) = self.wires.get_mut(&wire)
            && !sent.cut
        {
            sent.down_at = sent.down_at.max(now + delay);
            let at = sent.down_at;
            self.queue.at(at, Event::ToDevice(wire, message));
        }
    }

    /// Breaks a connection; both sides find out later, each by itself.
    pub(crate) fn cut(&mut self, id: WireId) {
        let (device_after, cloud_after) = (
            self.random.skewed(50, 40_000),
            self.random.skewed(50, 60_000),
        );
        let delay = self.random.skewed(1_000, 10 * MINUTE);
        let now = self.now;
        let late = self.random.one_in(3).then_some(now + delay);
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if wire.cut {
            return;
        }
        wire.cut = true;
        wire.late = late;
        let (device_open, cloud_open) = (wire.device_open, wire.cloud_open);
        if device_open {
            self.queue.at(now + device_after, Event::DeviceNotices(id));
        }
        if cloud_open {
            self.queue.at(now + cloud_after, Event::CloudNotices(id));
        }
    }

    /// The device closes its end; the cloud finds out.
    pub(crate) fn device_closes(&mut self, id: WireId) {
        let after = self.random.skewed(10, 30_000);
        let now = self.now;
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.device_open = false;
            if wire.cloud_open {
                self.queue.at(now + after, Event::CloudNotices(id));
            }
        }
        self.forget(id);
    }

    /// The cloud closes its end; the device finds out.
    pub(crate) fn cloud_closes(&mut self, id: WireId) {
        let after = self.random.skewed(10, 20_000);
        let now = self.now;
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.cloud_open = false;
            if wire.device_open {
                // After what the cloud still had to say.
                let at = wire.down_at.max(now + after);
                self.queue.at(at, Event::DeviceNotices(id));
            }
        }
        self.forget(id);
    }

    fn forget(&mut self, id: WireId) {
        if self
            .wires
            .get(&id)
            .is_some_and(|wire| !wire.device_open && !wire.cloud_open)
        {
            self.wires.remove(&id);
        }
    }

    /// Breaks every connection of a device, or only those over QUIC.
    pub(crate) fn cut_all(&mut self, device: Device, only: Option<Transport>) {
        let concerned: Vec<WireId> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.device == device)
            .filter(|(_, wire)| only.is_none_or(|only| only == wire.transport))
            .map(|(id, _)| *id)
            .collect();
        for id in concerned {
            self.cut(id);
        }
    }
}
