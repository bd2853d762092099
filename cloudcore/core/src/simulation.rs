//! A whole fleet in one seeded run: the real planner against nodes that lose, repeat and reorder
//! messages, go silent and refuse versions. A failure prints its seed; the same seed is the same run.

pub(crate) mod world;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use millwright_proto::ids::{ModelName, NodeName, Version};
use proptest::prelude::*;

use crate::desired::Desired;
use crate::fleet::{Liveness, Node, Report, SlotReport, SlotState, Transport};
use crate::plan::{Snapshot, plan};
use crate::rollout::Phase;
use crate::rollout::budget::Budget;
use crate::rollout::waves::WaveSpec;
use world::{Random, apply, deployment, node, version};

/// A node of the simulation: what it holds, and the messages on their way.
#[derive(Default)]
struct Device {
    applied: Option<Desired>,
    active: Option<Version>,
    state: Option<SlotState>,
    downlink: VecDeque<Desired>,
    uplink: VecDeque<Report>,
    refused: Vec<u64>,
}

impl Device {
    /// Takes a desired state unless it is older: what edge-core does.
    fn receive(&mut self, desired: Desired) {
        let newest = self.applied.as_ref().map(|applied| applied.generation);
        if Some(desired.generation) <= newest {
            self.refused.push(desired.generation.get());
            return;
        }
        let slot = desired.content.slots.get(&model());
        self.state = match slot {
            None => {
                self.active = None;
                None
            }
            Some(slot) if self.active.as_ref() == Some(&slot.version) => Some(SlotState::Active),
            Some(_) => Some(SlotState::Pending),
        };
        self.applied = Some(desired);
    }

    fn work(&mut self, refuses: Option<&Version>) {
        let wanted = self.applied.as_ref();
        let Some(slot) = wanted.and_then(|applied| applied.content.slots.get(&model())) else {
            return;
        };
        self.state = match self.state {
            Some(SlotState::Pending) => Some(SlotState::Warmed),
            Some(SlotState::Warmed) if refuses == Some(&slot.version) => Some(SlotState::Failed),
            Some(SlotState::Warmed) => {
                self.active = Some(slot.version.clone());
                Some(SlotState::Active)
            }
            state => state,
        };
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        let Some(applied) = &self.applied else {
            return report;
        };
        report.applied = Some((applied.generation, applied.digest));
        if let (Some(slot), Some(state)) = (applied.content.slots.get(&model()), self.state) {
            let slot = SlotReport {
                version: slot.version.clone(),
                state,
                active: self.active.clone(),
                reason: String::new(),
                message: String::new(),
            };
            report.slots.insert(model(), slot);
        }
        report
    }
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

struct Fleet {
    snapshot: Snapshot,
    devices: BTreeMap<NodeName, Device>,
    random: Random,
    budget: Option<u32>,
    bad: Option<Version>,
}

impl Fleet {
    fn new(seed: u64, nodes: usize, budget: Option<u32>) -> Self {
        let mut snapshot = Snapshot::default();
        for id in ["m@1", "m@2", "m@3", "m@4"] {
            let (id, package) = version(id);
            snapshot.versions.insert(id, package);
        }
        let mut devices = BTreeMap::new();
        for index in 0..nodes {
            let name = format!("n{index}");
            snapshot.nodes.insert(name.parse().unwrap(), node(&name));
            devices.insert(name.parse().unwrap(), Device::default());
        }
        Self {
            snapshot,
            devices,
            random: Random::new(seed),
            budget,
            bad: None,
        }
    }

    fn deploy(&mut self, target: u64, waves: &[u8]) {
        let name = "d".parse().unwrap();
        let before = self.snapshot.deployments.remove(&name);
        let generation = before.as_ref().map_or(1, |before| before.generation + 1);
        let mut new = deployment(&format!("m@{target}"), generation);
        new.status = before.map(|before| before.status).unwrap_or_default();
        let budget = self.budget.and_then(NonZeroU32::new);
        new.strategy.budget = budget.map_or(Budget::WholeWave, Budget::AtMost);
        new.strategy.waves = waves
            .iter()
            .map(|percent| WaveSpec {
                name: format!("p{percent}"),
                percent: *percent,
            })
            .collect();
        self.snapshot.deployments.insert(name, new);
    }

    /// One step of everything, in an order and with losses the seed decides.
    fn step(&mut self, now_ms: i64, quiet: Quiet) {
        let made = plan(&self.snapshot, now_ms);
        for (name, new) in &made.desired {
            let stored = self.snapshot.nodes[name].desired.as_ref();
            assert!(stored.is_none_or(|stored| stored.generation < new.generation));
        }
        apply(&mut self.snapshot, &made);
        self.check_budget();
        for (name, device) in &mut self.devices {
            let node = self.snapshot.nodes.get_mut(name).unwrap();
            let random = &mut self.random;
            if quiet == Quiet::No && random.one_in(12) {
                toggle(node, now_ms);
                // A new session begins with what the store has; what was on the way is lost.
                device.downlink.clear();
                device.uplink.clear();
            }
            device.work(self.bad.as_ref());
            if quiet == Quiet::Yes {
                connect(node, now_ms);
            }
            if node.is_connected() {
                exchange(node, device, random, quiet);
            }
        }
    }

    /// Invariant 2: nodes told a version that is not active on them are changing.
    fn check_budget(&self) {
        let Some(budget) = self.budget else { return };
        let changing = self.devices.iter().filter(|(name, device)| {
            let desired = self.snapshot.nodes[*name].desired.as_ref();
            let slot = desired.and_then(|desired| desired.content.slots.get(&model()));
            slot.is_some_and(|slot| device.active.as_ref() != Some(&slot.version))
        });
        let changing = changing.count();
        assert!(
            changing <= budget as usize,
            "{changing} change, {budget} may"
        );
    }

    /// Invariant 5, seen from the devices: nothing older was ever offered on an ordered session.
    fn check_settled(&mut self, target: &str) {
        for (name, device) in &self.devices {
            let active = device.active.as_ref().map(Version::as_str);
            assert_eq!(active, Some(target), "{name}");
        }
        let history = self.snapshot.rollouts.values().next().unwrap();
        assert_eq!(history.last_key_value().unwrap().1.phase, Phase::Succeeded);
        let last = plan(&self.snapshot, 1);
        assert!(last.desired.is_empty() && last.rollouts.is_empty());
        apply(&mut self.snapshot, &last);
        assert!(plan(&self.snapshot, 1).is_empty());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    Yes,
    No,
}

fn toggle(node: &mut Node, now_ms: i64) {
    if node.is_connected() {
        let since_ms = Some(now_ms);
        node.liveness = Liveness::Silent { since_ms };
    } else {
        connect(node, now_ms);
    }
}

fn connect(node: &mut Node, now_ms: i64) {
    node.liveness = Liveness::Connected {
        transport: Transport::Quic,
        last_seen_ms: now_ms,
    };
}

/// Sends both ways; on a noisy link some messages are dropped, repeated or swapped.
fn exchange(node: &mut Node, device: &mut Device, random: &mut Random, quiet: Quiet) {
    if let Some(desired) = &node.desired {
        device.downlink.push_back(desired.clone());
    }
    device.uplink.push_back(device.report());
    if quiet == Quiet::No {
        disturb(&mut device.downlink, random);
        // Reports of one session arrive in order, if late; the end of a session loses them.
        device.uplink.truncate(4);
    }
    let most = if quiet == Quiet::Yes { usize::MAX } else { 1 };
    for _ in 0..most.min(device.downlink.len()) {
        let desired = device.downlink.pop_front().unwrap();
        device.receive(desired);
    }
    for _ in 0..most.min(device.uplink.len()) {
        node.report = device.uplink.pop_front().unwrap();
    }
}

fn disturb<T: Clone>(queue: &mut VecDeque<T>, random: &mut Random) {
    if random.one_in(4) {
        queue.pop_back();
    }
    if random.one_in(4)
        && let Some(last) = queue.back().cloned()
    {
        queue.push_back(last);
    }
    if queue.len() > 1 && random.one_in(3) {
        let last = queue.len() - 1;
        queue.swap(last, last - 1);
    }
    // The link is bounded as the real one is.
    queue.truncate(4);
}

fn run(seed: u64, nodes: usize, budget: Option<u32>, targets: &[(u64, Vec<u8>)]) {
    let mut fleet = Fleet::new(seed, nodes, budget);
    let mut now_ms = 0;
    for (target, waves) in targets {
        fleet.deploy(*target, waves);
        for _ in 0..8 + fleet.random.below(12) {
            now_ms += 1_000;
            fleet.step(now_ms, Quiet::No);
        }
    }
    for _ in 0..nodes * 8 + 40 {
        now_ms += 1_000;
        fleet.step(now_ms, Quiet::Yes);
    }
    let target = targets.last().unwrap().0.to_string();
    fleet.check_settled(&target);
}

proptest! {
    #[test]
    fn a_noisy_fleet_converges_within_its_budget(
        seed in any::<u64>(),
        nodes in 1_usize..8,
        budget in prop::option::of(1_u32..4),
        targets in prop::collection::vec((1_u64..5, prop::collection::vec(1_u8..50, 0..3)), 1..5),
    ) {
        run(seed, nodes, budget, &targets);
    }
}

#[test]
fn a_bad_version_stops_at_the_first_wave_and_the_rest_keeps_answering() {
    let mut fleet = Fleet::new(7, 10, None);
    fleet.deploy(1, &[]);
    for second in 0..40 {
        fleet.step(second, Quiet::Yes);
    }
    fleet.check_settled("1");
    fleet.bad = Some("2".parse().unwrap());
    fleet.deploy(2, &[10, 30]);
    for second in 40..80 {
        fleet.step(second, Quiet::Yes);
    }
    let told = |node: &Node| {
        let desired = node.desired.as_ref().unwrap();
        desired.content.slots[&model()].version.as_str() == "2"
    };
    assert_eq!(
        fleet
            .snapshot
            .nodes
            .values()
            .filter(|node| told(node))
            .count(),
        1
    );
    let still = |device: &Device| device.active.as_ref().map(Version::as_str) == Some("1");
    assert!(fleet.devices.values().all(still));
    let history = fleet.snapshot.rollouts.values().next().unwrap();
    assert_eq!(history[&2].phase, Phase::Failed);
}
