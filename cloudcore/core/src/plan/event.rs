//! What a plan tells people, once, when it happens.

use millwright_proto::ids::{DeploymentName, NodeName, PipelineName};

use super::Snapshot;
use crate::rollout::{Phase, Progress, Rollout};

/// Something that happened in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How much attention it wants.
    pub severity: Severity,
    /// Machine-readable, `CamelCase`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about.
    pub regarding: Regarding,
}

/// How much attention an event wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing to do.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regarding {
    /// A node.
    Node(NodeName),
    /// A deployment.
    Deployment(DeploymentName),
    /// A pipeline.
    Pipeline(PipelineName),
    /// A rollout of a deployment.
    Rollout(DeploymentName, u64),
}

impl Event {
    pub(super) fn normal(reason: &'static str, message: String, regarding: Regarding) -> Self {
        Self {
            severity: Severity::Normal,
            reason,
            message,
            regarding,
        }
    }

    pub(super) fn warning(reason: &'static str, message: String, regarding: Regarding) -> Self {
        Self {
            severity: Severity::Warning,
            reason,
            message,
            regarding,
        }
    }
}

/// Tells how each written rollout differs from the stored one.
pub(super) fn of_rollouts(
    snapshot: &Snapshot,
    name: &DeploymentName,
    progress: &Progress,
    events: &mut Vec<Event>,
) {
    for (number, after) in &progress.written {
        let history = snapshot.rollouts.get(name);
        let before = history.and_then(|history| history.get(number));
        let regarding = || Regarding::Rollout(name.clone(), *number);
        let tell = |reason, message| Event::normal(reason, message, regarding());
        if before.is_none() {
            let nodes: usize = after.waves.iter().map(|wave| wave.nodes.len()).sum();
            let waves = after.waves.len();
            let message = format!("{} to {nodes} nodes in {waves} waves", after.target);
            events.push(tell("RolloutStarted", message));
        }
        let first_new = before.map_or(1, |before| before.wave + 1);
        for wave in first_new..=after.wave {
            events.push(tell("WaveStarted", wave_begins(after, wave)));
        }
        if before.map(|before| before.phase) == Some(after.phase) {
            continue;
        }
        match after.phase {
            Phase::Progressing => {}
            Phase::Succeeded => events.push(tell("RolloutSucceeded", after.message.clone())),
            Phase::Superseded => events.push(tell("RolloutSuperseded", after.message.clone())),
            Phase::Failed => events.push(Event::warning(
                "RolloutFailed",
                after.message.clone(),
                regarding(),
            )),
        }
    }
}

fn wave_begins(rollout: &Rollout, index: usize) -> String {
    let wave = &rollout.waves[index];
    let (number, of) = (index + 1, rollout.waves.len());
    format!(
        "wave `{}` ({number} of {of}) with {} nodes",
        wave.name,
        wave.nodes.len()
    )
}
