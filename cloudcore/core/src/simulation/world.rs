//! Snapshots to begin with, and what applying a plan makes of one: the store, without a database.

use millwright_proto::Digest;
use millwright_proto::ids::{ModelVersion, NodeUid};

use crate::desired::{Content, Desired};
use crate::fleet::pipeline::PipelineSupport;
use crate::fleet::selector::Selector;
use crate::fleet::{
    Deployment, DeploymentStatus, Liveness, Memory, Node, NodeStatus, Phase, Report, Transport,
};
use crate::plan::{Plan, Snapshot};
use crate::rollout::Strategy;

/// A connected node that was told nothing.
pub(crate) fn node(name: &str) -> Node {
    let mut uid = [0; 16];
    uid[..name.len()].copy_from_slice(name.as_bytes());
    Node {
        uid: NodeUid::from_bytes(uid),
        site: "site".parse().unwrap(),
        labels: [].into(),
        phase: Phase::Enrolled,
        liveness: Liveness::Connected {
            transport: Transport::Quic,
            last_seen_ms: 0,
        },
        platform: None,
        pipelines: PipelineSupport::Runs,
        certificate_expires_ms: None,
        report: Report::default(),
        desired: None,
        memory: Memory::Whole,
        reassert: None,
        adopt: None,
        status: NodeStatus::default(),
    }
}

/// A pushed version.
pub(crate) fn version(id: &str) -> (ModelVersion, Digest) {
    (id.parse().unwrap(), Digest::of(id.as_bytes()))
}

/// A deployment of every node in one wave.
pub(crate) fn deployment(target: &str, generation: u64) -> Deployment {
    Deployment {
        generation,
        created_ms: 0,
        target: target.parse().unwrap(),
        selector: Selector::default(),
        strategy: Strategy::default(),
        status: DeploymentStatus::default(),
    }
}

/// Stands for the digest of a document: equal for equal contents only.
pub(crate) fn digest(content: &Content) -> Digest {
    Digest::of(format!("{content:?}").as_bytes())
}

/// Writes a plan into the snapshot it was made from.
pub(crate) fn apply(snapshot: &mut Snapshot, plan: &Plan) {
    for (name, new) in &plan.desired {
        let node = snapshot.nodes.get_mut(name).unwrap();
        assert_eq!(node.uid, new.uid);
        node.desired = Some(Desired {
            generation: new.generation,
            digest: digest(&new.content),
            content: new.content.clone(),
            since: new.since.clone(),
        });
    }
    for (name, number) in &plan.forgotten {
        snapshot.rollouts.get_mut(name).unwrap().remove(number);
    }
    for ((name, number), rollout) in &plan.rollouts {
        let history = snapshot.rollouts.entry(name.clone()).or_default();
        history.insert(*number, rollout.clone());
    }
    for (name, status) in &plan.deployments {
        snapshot.deployments.get_mut(name).unwrap().status = status.clone();
    }
    for (name, status) in &plan.pipelines {
        snapshot.pipelines.get_mut(name).unwrap().status = status.clone();
    }
    for (name, status) in &plan.nodes {
        snapshot.nodes.get_mut(name).unwrap().status = status.clone();
    }
    for (name, status) in &plan.sites {
        snapshot.sites.insert(name.clone(), *status);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}
