//! The planner's round: fleet-core's plan, written in one transaction, then told to the sessions.

use std::rc::Rc;

use fleet_core::desired::{Content, Desired};
use fleet_core::fleet::{Memory, SlotReport, SlotState};
use fleet_core::{Plan, plan};
use millwright_proto::Digest;

use super::{Cloud, Crashed, unix};
use crate::check;
use crate::event::{Document, WireId};
use crate::node::Machine;
use crate::seam::Bug;
use crate::shared::Shared;

impl Cloud {
    /// Plans, if a reason to came since the last round.
    pub(crate) fn plan(&mut self, machines: &[Machine], shared: &mut Shared) {
        if self.plans_at != Some(shared.now) || !self.running {
            return;
        }
        self.plans_at = None;
        let made = self.decide(shared);
        if made.is_empty() {
            return;
        }
        let done = self.write(&made, shared);
        check::fleet(self, machines, &made, shared);
        if let Err(Crashed) = done {
            self.crash(shared);
            return;
        }
        let told: Vec<WireId> = self
            .sessions
            .iter()
            .filter(|(_, live)| made.desired.values().any(|new| new.uid == live.uid))
            .map(|(wire, _)| *wire)
            .collect();
        for wire in told {
            self.send_desired(wire, shared);
        }
        // Its own result may be a reason to plan again.
        self.wake_planner(shared);
    }

    fn decide(&self, shared: &Shared) -> Plan {
        let now = unix(shared.now);
        let mut snapshot = std::borrow::Cow::Borrowed(&self.store.snapshot);
        if shared.bug == Bug::HoldIgnored {
            for node in snapshot.to_mut().nodes.values_mut() {
                node.report.applied = node
                    .desired
                    .as_ref()
                    .map(|desired| (desired.generation, desired.digest));
                node.memory = Memory::Whole;
                node.reassert = None;
                node.adopt = None;
            }
        }
        if shared.bug == Bug::SilenceIsSuccess {
            for node in snapshot.to_mut().nodes.values_mut() {
                believe(node);
            }
        }
        if shared.bug == Bug::BudgetIgnored {
            for deployment in snapshot.to_mut().deployments.values_mut() {
                deployment.strategy.budget = fleet_core::rollout::budget::Budget::WholeWave;
            }
        }
        plan(&snapshot, now)
    }

    /// Writes a plan; a generation that does not follow the stored one is refused by the real store.
    fn write(&mut self, made: &Plan, shared: &mut Shared) -> Result<(), Crashed> {
        self.step()?;
        let snapshot = &mut self.store.snapshot;
        for (name, new) in &made.desired {
            let Some(node) = snapshot.nodes.get_mut(name) else {
                continue;
            };
            let before = node.desired.as_ref().map(|desired| desired.generation);
            if before.is_some_and(|before| before >= new.generation) {
                let text = format!(
                    "generation {} of {name} does not follow {before:?}",
                    new.generation
                );
                shared.broken.get_or_insert((None, text));
            }
            shared.trace.note(
                shared.now,
                None,
                "plans a generation",
                new.generation.get(),
                new.uid.as_bytes()[0].into(),
            );
            node.desired = Some(Desired {
                generation: new.generation,
                digest: Digest::of(&bytes_of(&new.content)),
                content: new.content.clone(),
                since: new.since.clone(),
            });
        }
        for (name, number) in &made.forgotten {
            if let Some(history) = snapshot.rollouts.get_mut(name) {
                history.remove(number);
            }
        }
        for ((name, number), rollout) in &made.rollouts {
            let history = snapshot.rollouts.entry(name.clone()).or_default();
            history.insert(*number, rollout.clone());
        }
        for (name, status) in &made.deployments {
            if let Some(deployment) = snapshot.deployments.get_mut(name) {
                deployment.status = status.clone();
            }
        }
        for (name, status) in &made.nodes {
            if let Some(node) = snapshot.nodes.get_mut(name) {
                node.status = status.clone();
            }
        }
        for (name, status) in &made.sites {
            snapshot.sites.insert(name.clone(), *status);
        }
        self.step()
    }

    /// Sends the newest desired state if it is newer than what the session's node knows.
    pub(super) fn send_desired(&mut self, wire: WireId, shared: &mut Shared) {
        let Some(live) = self.sessions.get(&wire).copied() else {
            return;
        };
        let Some(desired) = self
            .node_mut(live.uid)
            .and_then(|node| node.desired.clone())
        else {
            return;
        };
        if desired.generation <= live.known {
            return;
        }
        if let Some(live) = self.sessions.get_mut(&wire) {
            live.known = desired.generation;
        }
        let document = Document {
            generation: desired.generation,
            digest: desired.digest,
            bytes: bytes_of(&desired.content),
            content: desired.content,
        };
        shared.send_desired(wire, live.uid, &Rc::new(document));
    }
}

/// Stands for the encoded document: equal for equal contents only.
fn bytes_of(content: &Content) -> Vec<u8> {
    format!("{content:?}").into_bytes()
}

/// What a planner would see that took silence for success.
fn believe(node: &mut fleet_core::fleet::Node) {
    let Some(desired) = node.desired.as_ref().filter(|_| !node.is_connected()) else {
        return;
    };
    node.report.applied = Some((desired.generation, desired.digest));
    for (model, slot) in &desired.content.slots {
        let told = SlotReport {
            version: slot.version.clone(),
            state: SlotState::Active,
            active: Some(slot.version.clone()),
            reason: String::new(),
            message: String::new(),
        };
        node.report.slots.insert(model.clone(), told);
    }
}
