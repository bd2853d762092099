//! The operator: changes deployments by the script, and does what only a person may do.

use fleet_core::desired::{Gap, Standing};
use fleet_core::fleet::selector::Selector;
use fleet_core::fleet::{
    Deployment, DeploymentStatus, Liveness, Memory, NodeStatus, Phase, Report,
};
use fleet_core::rollout::Strategy;
use fleet_core::rollout::waves::WaveSpec;
use millwright_proto::ids::{DeploymentName, Generation, ModelVersion, NodeName, NodeUid};

use super::{Cloud, unix};
use crate::event::{Event, MINUTE};
use crate::scenario::Intent;
use crate::shared::Shared;

/// How long a replaced version stays warm.
const PROVE_FOR_MS: u32 = 60_000;

/// A revoked node's session must have ended within this time.
const CUT_WITHIN: u64 = MINUTE;

fn deployment_of(model: usize) -> DeploymentName {
    format!("d{model}").parse().expect("a letter and a number")
}

impl Cloud {
    /// The next line of the script.
    pub(crate) fn intend(&mut self, intent: &Intent, shared: &mut Shared) {
        let target = shared.scenario.releases[intent.release]
            .package
            .version
            .clone();
        let name = deployment_of(intent.model);
        self.intended.insert(name.clone(), target.clone());
        shared.note_cloud("deploys", intent.model as u64, intent.release as u64);
        // While the cloud is down the operator waits; the next round repeats it.
        if self.running {
            self.deploy(name, target, shared);
        }
    }

    fn deploy(&mut self, name: DeploymentName, target: ModelVersion, shared: &mut Shared) {
        let before = self.store.snapshot.deployments.remove(&name);
        let same = before
            .as_ref()
            .is_some_and(|before| before.target == target);
        let generation = before.as_ref().map_or(0, |before| before.generation);
        let waves = shared.scenario.waves.iter().map(|percent| WaveSpec {
            name: format!("p{percent}"),
            percent: *percent,
        });
        let deployment = Deployment {
            generation: generation + u64::from(!same),
            created_ms: before
                .as_ref()
                .map_or(unix(shared.now), |before| before.created_ms),
            target,
            selector: Selector::default(),
            strategy: Strategy {
                waves: waves.collect(),
                budget: shared.scenario.budget,
                prove_for_ms: PROVE_FOR_MS,
                gap: Gap::default(),
            },
            status: before.map_or_else(DeploymentStatus::default, |before| before.status),
        };
        self.store.snapshot.deployments.insert(name, deployment);
        self.wake_planner(shared);
    }

    /// Makes the deployments say what is wanted; returns the nodes that are held for a decision.
    pub(crate) fn review(&mut self, shared: &mut Shared) -> Vec<(NodeName, NodeUid, Generation)> {
        if !self.running {
            return Vec::new();
        }
        for (name, target) in self.intended.clone() {
            let stored = self.store.snapshot.deployments.get(&name);
            if stored.is_none_or(|stored| stored.target != target) {
                self.deploy(name, target, shared);
            }
        }
        // A backup from before a revocation knows nothing of it.
        for uid in self.revoked.clone() {
            let phase = self.node_mut(uid).map(|node| node.phase);
            if phase == Some(Phase::Enrolled) {
                self.revoke(uid, shared);
            }
        }
        let held = self.store.snapshot.nodes.iter().filter_map(|(name, node)| {
            match (node.phase, Standing::of(node)) {
                (Phase::Enrolled, Standing::Ahead { reported, .. }) => {
                    Some((name.clone(), node.uid, reported))
                }
                _ => None,
            }
        });
        held.collect()
    }

    /// The operator decides that the cloud is right about a node.
    pub(crate) fn reassert(&mut self, name: &NodeName, reported: Generation, shared: &mut Shared) {
        if let Some(node) = self.store.snapshot.nodes.get_mut(name) {
            node.reassert = Some(reported);
            node.adopt = None;
            shared.books.adopted.remove(&(node.uid, reported));
            shared.note_cloud("an operator reasserts", reported.get(), 0);
            self.wake_planner(shared);
        }
    }

    /// The operator decides that a node is right.
    pub(crate) fn adopt(&mut self, name: &NodeName, reported: Generation, shared: &mut Shared) {
        if let Some(node) = self.store.snapshot.nodes.get_mut(name) {
            node.adopt = Some(reported);
            shared.books.adopted.insert((node.uid, reported));
            shared.note_cloud("an operator adopts", reported.get(), 0);
            self.wake_planner(shared);
        }
    }

    /// The operator ends a node's rights.
    pub(crate) fn revoke(&mut self, uid: NodeUid, shared: &mut Shared) {
        if !self.running {
            return;
        }
        if let Some(node) = self.node_mut(uid) {
            node.phase = Phase::Revoked;
        }
        shared.note_cloud("revokes", 0, 0);
        self.revoked.insert(uid);
        self.end_sessions(uid, shared);
        let at = shared.now + CUT_WITHIN;
        shared.queue.at(at, Event::MustBeCut(uid));
        self.wake_planner(shared);
    }

    /// The operator enrolls a wiped device under the name of `old`.
    pub(crate) fn enroll_again(&mut self, old: NodeUid, new: NodeUid, shared: &mut Shared) {
        let Some(device) = shared.device_of(new) else {
            return;
        };
        // A restored store may know neither of both names: the operator goes by the node's.
        let name: NodeName = format!("n{device}").parse().expect("a letter and a number");
        self.end_sessions(old, shared);
        self.store.uids.remove(&old);
        self.store.uids.insert(new, name.clone());
        if let Some(node) = self.store.snapshot.nodes.get_mut(&name) {
            node.uid = new;
            node.phase = Phase::Enrolled;
            node.liveness = Liveness::Silent { since_ms: None };
            node.report = Report::default();
            node.desired = None;
            node.reassert = None;
            node.adopt = None;
            node.memory = Memory::Whole;
            node.status = NodeStatus::default();
        }
        shared.note_cloud("enrolls again", 0, 0);
        self.wake_planner(shared);
    }
}
