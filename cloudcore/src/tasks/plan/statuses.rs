//! Between the API's statuses and fleet-core's, both ways: variant by variant, nothing decided.

use std::collections::BTreeSet;

use fleet_api::{
    Condition, ConditionStatus, ModelDeploymentStatus, NodeModelStatus, NodePhase, NodeStatus,
    Resource, RolloutNodeStatus, RolloutPhase, RolloutSpec, RolloutStatus, RolloutWave, SlotState,
    Transport, Verdict,
};
use fleet_core::fleet;
use fleet_core::fleet::condition::{self, State};
use fleet_core::rollout::{self, Rollout};
use jiff::Timestamp;
use millwright_proto::ids::{DeploymentName, Generation, ModelVersion, NodeName};
use millwright_proto::link;

use super::facts::{Damaged, damaged, parse};
use super::pipelines;

/// `<deployment>-<number>`.
pub(in crate::tasks) fn rollout_name(deployment: &DeploymentName, number: u64) -> String {
    format!("{deployment}-{number}")
}

/// A new rollout as the API has it.
pub(in crate::tasks) fn rollout_resource(
    deployment: &DeploymentName,
    number: u64,
    rollout: &Rollout,
) -> Resource<fleet_api::Rollout> {
    let waves = rollout.waves.iter().map(|wave| RolloutWave {
        name: wave.name.clone(),
        nodes: wave.nodes.iter().map(ToString::to_string).collect(),
    });
    let spec = RolloutSpec {
        deployment: deployment.to_string(),
        deployment_generation: rollout.deployment_generation,
        model: rollout.target.model.to_string(),
        version: rollout.target.version.to_string(),
        waves: waves.collect(),
    };
    let mut resource = Resource::new(rollout_name(deployment, number), spec);
    resource.status = rollout_status(rollout);
    resource
}

/// How far a rollout has come, as the API tells it.
pub(in crate::tasks) fn rollout_status(rollout: &Rollout) -> RolloutStatus {
    let nodes = rollout.nodes.iter().map(|(node, (verdict, message))| {
        let verdict = match verdict {
            rollout::gate::Verdict::Pass => Verdict::Pass,
            rollout::gate::Verdict::Fail => Verdict::Fail,
            rollout::gate::Verdict::Inconclusive => Verdict::Inconclusive,
        };
        RolloutNodeStatus {
            node: node.to_string(),
            verdict,
            message: message.clone(),
        }
    });
    RolloutStatus {
        phase: match rollout.phase {
            rollout::Phase::Progressing => RolloutPhase::Progressing,
            rollout::Phase::Succeeded => RolloutPhase::Succeeded,
            rollout::Phase::Failed => RolloutPhase::Failed,
            rollout::Phase::Superseded => RolloutPhase::Superseded,
        },
        wave: u32::try_from(rollout.wave).unwrap_or(u32::MAX),
        nodes: nodes.collect(),
        message: rollout.message.clone(),
        started: time(rollout.started_ms),
        finished: rollout.finished_ms.and_then(time),
    }
}

/// A stored rollout as fleet-core has it.
pub(super) fn rollout_of(
    resource: &Resource<fleet_api::Rollout>,
) -> Result<(DeploymentName, u64, Rollout), Damaged> {
    let (kind, name) = ("Rollout", &resource.metadata.name);
    let (spec, status) = (&resource.spec, &resource.status);
    let number = name.rsplit_once('-').map_or("", |(_, number)| number);
    let node = |node: &String| parse::<NodeName>(node, kind, name, "node");
    let mut waves = Vec::with_capacity(spec.waves.len());
    for wave in &spec.waves {
        let nodes: Result<BTreeSet<_>, _> = wave.nodes.iter().map(node).collect();
        waves.push(rollout::Wave {
            name: wave.name.clone(),
            nodes: nodes?,
        });
    }
    let wave = usize::try_from(status.wave).unwrap_or(usize::MAX);
    if wave >= waves.len() {
        return Err(damaged(kind, name, "wave"));
    }
    let mut nodes = std::collections::BTreeMap::new();
    for told in &status.nodes {
        let verdict = match told.verdict {
            Verdict::Pass => rollout::gate::Verdict::Pass,
            Verdict::Fail => rollout::gate::Verdict::Fail,
            Verdict::Inconclusive => rollout::gate::Verdict::Inconclusive,
        };
        nodes.insert(node(&told.node)?, (verdict, told.message.clone()));
    }
    let rollout = Rollout {
        deployment_generation: spec.deployment_generation,
        target: ModelVersion {
            model: parse(&spec.model, kind, name, "model")?,
            version: parse(&spec.version, kind, name, "version")?,
        },
        waves,
        phase: match status.phase {
            RolloutPhase::Progressing => rollout::Phase::Progressing,
            RolloutPhase::Succeeded => rollout::Phase::Succeeded,
            RolloutPhase::Failed => rollout::Phase::Failed,
            RolloutPhase::Superseded => rollout::Phase::Superseded,
        },
        wave,
        nodes,
        message: status.message.clone(),
        started_ms: status.started.map_or(0, Timestamp::as_millisecond),
        finished_ms: status.finished.map(Timestamp::as_millisecond),
    };
    let deployment = parse(&spec.deployment, kind, name, "deployment")?;
    Ok((deployment, parse(number, kind, name, "number")?, rollout))
}

/// How a deployment is doing, as the API tells it.
pub(in crate::tasks) fn deployment_status(
    name: &DeploymentName,
    status: &fleet::DeploymentStatus,
) -> ModelDeploymentStatus {
    ModelDeploymentStatus {
        observed_generation: status.observed_generation,
        conditions: conditions(&status.conditions),
        selected: status.selected,
        active: status.active,
        rollout: status.rollout.map(|number| rollout_name(name, number)),
    }
}

pub(super) fn deployment_of(name: &str, status: &ModelDeploymentStatus) -> fleet::DeploymentStatus {
    let number = |rollout: &String| {
        let number = rollout.strip_prefix(name)?.strip_prefix('-')?;
        number.parse().ok()
    };
    fleet::DeploymentStatus {
        observed_generation: status.observed_generation,
        conditions: conditions_of(&status.conditions),
        selected: status.selected,
        active: status.active,
        rollout: status.rollout.as_ref().and_then(number),
    }
}

/// What is known of a node, as the API tells it.
pub(in crate::tasks) fn node_status(status: &fleet::NodeStatus) -> NodeStatus {
    let platform = status.platform.as_ref();
    let models = status.models.iter().map(|(model, slot)| NodeModelStatus {
        model: model.to_string(),
        version: slot.version.to_string(),
        state: slot_state(slot.state),
        active_version: slot.active.as_ref().map(ToString::to_string),
        reason: slot.reason.clone(),
        message: slot.message.clone(),
    });
    NodeStatus {
        uid: status.uid.map(|uid| uid.to_string()).unwrap_or_default(),
        phase: match status.phase {
            fleet::Phase::Enrolled => NodePhase::Enrolled,
            fleet::Phase::Revoked => NodePhase::Revoked,
            fleet::Phase::Decommissioned => NodePhase::Decommissioned,
        },
        conditions: conditions(&status.conditions),
        transport: status.transport.map(|transport| match transport {
            fleet::Transport::Quic => Transport::Quic,
            fleet::Transport::WebSocket => Transport::Websocket,
        }),
        last_seen: status.last_seen_ms.and_then(time),
        agent_version: platform.map(|platform| platform.agent_version.clone()),
        arch: platform.map(|platform| platform.arch.clone()),
        onnxruntime: platform.and_then(|platform| platform.onnxruntime.clone()),
        desired_generation: status.desired_generation.get(),
        applied_generation: status.applied_generation.get(),
        models: models.collect(),
        pipelines: pipelines::on_node(&status.pipelines),
        certificate_expires: status.certificate_expires_ms.and_then(time),
    }
}

pub(super) fn node_of(status: &NodeStatus) -> fleet::NodeStatus {
    let slot = |slot: &NodeModelStatus| {
        let report = fleet::SlotReport {
            version: slot.version.parse().ok()?,
            state: slot_state_back(slot.state),
            active: slot.active_version.as_ref().and_then(|v| v.parse().ok()),
            reason: slot.reason.clone(),
            message: slot.message.clone(),
        };
        Some((slot.model.parse().ok()?, report))
    };
    let platform = |agent_version: &String| fleet::Platform {
        agent_version: agent_version.clone(),
        arch: status.arch.clone().unwrap_or_default(),
        onnxruntime: status.onnxruntime.clone(),
    };
    fleet::NodeStatus {
        uid: status.uid.parse().ok(),
        phase: phase_of(status.phase),
        conditions: conditions_of(&status.conditions),
        transport: status.transport.map(transport_of),
        last_seen_ms: status.last_seen.map(Timestamp::as_millisecond),
        platform: status.agent_version.as_ref().map(platform),
        desired_generation: Generation::new(status.desired_generation),
        applied_generation: Generation::new(status.applied_generation),
        models: status.models.iter().filter_map(slot).collect(),
        pipelines: pipelines::on_node_of(&status.pipelines),
        certificate_expires_ms: status.certificate_expires.map(Timestamp::as_millisecond),
    }
}

pub(super) fn phase_of(phase: NodePhase) -> fleet::Phase {
    match phase {
        NodePhase::Enrolled => fleet::Phase::Enrolled,
        NodePhase::Revoked => fleet::Phase::Revoked,
        NodePhase::Decommissioned => fleet::Phase::Decommissioned,
    }
}

pub(super) fn transport_of(transport: Transport) -> fleet::Transport {
    match transport {
        Transport::Quic => fleet::Transport::Quic,
        Transport::Websocket => fleet::Transport::WebSocket,
    }
}

/// `None` for a state this cloudcore does not know.
pub(super) fn slot_state_of(state: link::SlotState) -> Option<fleet::SlotState> {
    match state {
        link::SlotState::Unspecified => None,
        link::SlotState::Pending => Some(fleet::SlotState::Pending),
        link::SlotState::Staged => Some(fleet::SlotState::Staged),
        link::SlotState::Verified => Some(fleet::SlotState::Verified),
        link::SlotState::Warmed => Some(fleet::SlotState::Warmed),
        link::SlotState::Active => Some(fleet::SlotState::Active),
        link::SlotState::Failed => Some(fleet::SlotState::Failed),
    }
}

fn slot_state(state: fleet::SlotState) -> SlotState {
    match state {
        fleet::SlotState::Pending => SlotState::Pending,
        fleet::SlotState::Staged => SlotState::Staged,
        fleet::SlotState::Verified => SlotState::Verified,
        fleet::SlotState::Warmed => SlotState::Warmed,
        fleet::SlotState::Active => SlotState::Active,
        fleet::SlotState::Failed => SlotState::Failed,
    }
}

fn slot_state_back(state: SlotState) -> fleet::SlotState {
    match state {
        SlotState::Pending => fleet::SlotState::Pending,
        SlotState::Staged => fleet::SlotState::Staged,
        SlotState::Verified => fleet::SlotState::Verified,
        SlotState::Warmed => fleet::SlotState::Warmed,
        SlotState::Active => fleet::SlotState::Active,
        SlotState::Failed => fleet::SlotState::Failed,
    }
}

pub(super) fn conditions(conditions: &[condition::Condition]) -> Vec<Condition> {
    let told = conditions.iter().map(|condition| Condition {
        kind: condition.kind.clone(),
        status: match condition.state {
            State::True => ConditionStatus::True,
            State::False => ConditionStatus::False,
            State::Unknown => ConditionStatus::Unknown,
        },
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: time(condition.since_ms).unwrap_or(Timestamp::UNIX_EPOCH),
    });
    told.collect()
}

pub(super) fn conditions_of(conditions: &[Condition]) -> Vec<condition::Condition> {
    let known = conditions.iter().map(|condition| condition::Condition {
        kind: condition.kind.clone(),
        state: match condition.status {
            ConditionStatus::True => State::True,
            ConditionStatus::False => State::False,
            ConditionStatus::Unknown => State::Unknown,
        },
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        since_ms: condition.last_transition_time.as_millisecond(),
    });
    known.collect()
}

fn time(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}
