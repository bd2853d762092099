//! What is told of deployments, nodes and sites.

use std::collections::BTreeMap;

use millwright_proto::ids::{DeploymentName, Generation, ModelName, NodeName, PipelineName};

use super::event::{Event, Regarding};
use super::{Plan, Snapshot, content};
use crate::desired::{Slot, Standing};
use crate::explain::{self, Blocker};
use crate::fleet::condition::{Condition, State, find};
use crate::fleet::pipeline::PipelineReport;
use crate::fleet::{
    Deployment, DeploymentStatus, Liveness, Node, NodeStatus, Phase, SiteStatus, SlotReport,
    SlotState, Transport,
};
use crate::rollout::{self, Progress};

/// How much later a connected node must have been heard before its status says so: a write per report
/// of every node would drown the watches.
const LAST_SEEN_STEP_MS: i64 = 60_000;

/// Types of the conditions the cloud decides; a node cannot report these of itself.
const CONNECTED: &str = "Connected";
const AHEAD_OF_CLOUD: &str = "AheadOfCloud";

/// Nodes that a conflict names before it only counts.
const CONFLICTS_LISTED_MAX: usize = 3;

/// What the status of a deployment is made from.
pub(super) struct DeploymentCase<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) name: &'a DeploymentName,
    pub(super) deployment: &'a Deployment,
    pub(super) nodes: &'a BTreeMap<&'a NodeName, &'a Node>,
    pub(super) lost: Option<&'a BTreeMap<NodeName, DeploymentName>>,
    pub(super) progress: &'a Progress,
}

/// Tells how a deployment is doing.
pub(super) fn deployment(case: &DeploymentCase<'_>, plan: &mut Plan, now_ms: i64) {
    let target = &case.deployment.target;
    let stored = &case.deployment.status;
    let runs_it = |node: &&&Node| node.active_version(&target.model) == Some(&target.version);
    let active = case.nodes.values().filter(runs_it).count();
    let condition = |kind: &str, state, told| {
        Condition::continued(&stored.conditions, kind, state, told, now_ms)
    };
    let (available, told) = availability(case, active);
    let mut conditions = vec![condition("Available", available, told)];
    let (progressing, told) = progression(case);
    conditions.push(condition("Progressing", progressing, told));
    if let Some(lost) = case.lost {
        let told = ("SameModelOnNode", conflict(&target.model, lost));
        conditions.push(condition("Conflict", State::True, told));
        if find(&stored.conditions, "Conflict").is_none() {
            let message = conflict(&target.model, lost);
            let regarding = Regarding::Deployment(case.name.clone());
            plan.events
                .push(Event::warning("DeploymentConflict", message, regarding));
        }
    }
    let newest = case
        .snapshot
        .rollouts
        .get(case.name)
        .and_then(|history| history.last_key_value());
    let current = case.progress.current.as_ref().map(|(number, _)| *number);
    let status = DeploymentStatus {
        observed_generation: case.deployment.generation,
        conditions,
        selected: count(case.nodes.len()),
        active: count(active),
        rollout: current.or(newest.map(|(number, _)| *number)),
    };
    if status != *stored {
        plan.deployments.insert(case.name.clone(), status);
    }
}

fn unknown_version(case: &DeploymentCase<'_>) -> Option<(&'static str, String)> {
    let target = &case.deployment.target;
    let unknown = !case.snapshot.versions.contains_key(target);
    unknown.then(|| {
        let message = format!(
            "model version {target} was never pushed; nodes keep what they have. Push it, or name another version"
        );
        ("UnknownVersion", message)
    })
}

fn availability(case: &DeploymentCase<'_>, active: usize) -> (State, (&'static str, String)) {
    let target = &case.deployment.target;
    let all = case.nodes.len();
    if let Some(told) = unknown_version(case) {
        (State::False, told)
    } else if all == 0 {
        let message = "the selector selects no enrolled node, or another deployment has them all";
        (State::False, ("NoNodes", message.to_owned()))
    } else if active == all {
        let message = format!("{target} answers requests on all {all} nodes");
        (State::True, ("AllActive", message))
    } else {
        let message = format!("{target} answers requests on {active} of {all} nodes");
        (State::False, ("SomeNotActive", message))
    }
}

fn progression(case: &DeploymentCase<'_>) -> (State, (&'static str, String)) {
    if let Some(told) = unknown_version(case) {
        return (State::False, told);
    }
    let Some((_, rollout)) = &case.progress.current else {
        let message = "a rollout begins once a node is selected";
        return (State::False, ("NoNodes", message.to_owned()));
    };
    let (state, reason) = match rollout.phase {
        rollout::Phase::Progressing => (State::True, "RolloutProgressing"),
        rollout::Phase::Succeeded => (State::False, "RolloutSucceeded"),
        rollout::Phase::Failed => (State::False, "RolloutFailed"),
        rollout::Phase::Superseded => (State::False, "RolloutSuperseded"),
    };
    (state, (reason, rollout.message.clone()))
}

fn conflict(model: &ModelName, lost: &BTreeMap<NodeName, DeploymentName>) -> String {
    let named: Vec<_> = lost
        .iter()
        .take(CONFLICTS_LISTED_MAX)
        .map(|(node, owner)| format!("Node/{node} (ModelDeployment/{owner})"))
        .collect();
    let more = match lost.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} selected nodes already run {model} by an older deployment, which keeps them: {}{more}; \
         narrow one of the selectors or delete one of the deployments",
        lost.len(),
        named.join(", ")
    )
}

/// Tells what is known of a node.
pub(super) fn node(
    snapshot: &Snapshot,
    (name, node): (&NodeName, &Node),
    pipelines: BTreeMap<PipelineName, PipelineReport>,
    plan: &mut Plan,
    now_ms: i64,
) {
    let ahead = ahead(snapshot, name, node);
    let planned = plan.desired.get(name);
    let stored = node.desired.as_ref();
    let desired = planned
        .map(|new| (new.generation, &new.content))
        .or(stored.map(|desired| (desired.generation, &desired.content)));
    let models = desired.iter().flat_map(|(_, content)| &content.slots);
    let applied = node.report.applied.map(|(generation, _)| generation);
    let status = NodeStatus {
        uid: Some(node.uid),
        phase: node.phase,
        conditions: conditions(name, node, ahead, &mut plan.events, now_ms),
        transport: transport(node),
        last_seen_ms: last_seen(node),
        platform: node.platform.clone(),
        desired_generation: desired.map_or(Generation::NONE, |(generation, _)| generation),
        applied_generation: applied.unwrap_or(Generation::NONE),
        models: models
            .map(|(model, slot)| (model.clone(), model_status(node, model, slot)))
            .collect(),
        pipelines,
        certificate_expires_ms: node.certificate_expires_ms,
    };
    if status != node.status {
        plan.nodes.insert(name.clone(), status);
    }
}

fn transport(node: &Node) -> Option<Transport> {
    match node.liveness {
        Liveness::Connected { transport, .. } => Some(transport),
        Liveness::Silent { .. } => None,
    }
}

fn last_seen(node: &Node) -> Option<i64> {
    match (node.liveness, node.status.last_seen_ms) {
        (Liveness::Silent { since_ms }, _) => since_ms,
        (Liveness::Connected { last_seen_ms, .. }, Some(told))
            if last_seen_ms >= told && last_seen_ms - told < LAST_SEEN_STEP_MS =>
        {
            Some(told)
        }
        (Liveness::Connected { last_seen_ms, .. }, _) => Some(last_seen_ms),
    }
}

fn model_status(node: &Node, model: &ModelName, slot: &Slot) -> SlotReport {
    let report = node.report.slots.get(model);
    if let Some(report) = report.filter(|report| report.version == slot.version) {
        return report.clone();
    }
    // Until the node speaks of the version itself, these are our words.
    let (reason, message) = match explain::blocker(node, model, slot) {
        None | Some(Blocker::Moving(_) | Blocker::Refused { .. }) => ("", String::new()),
        Some(Blocker::NotEnrolled) => ("NotEnrolled", "only a new enrollment helps".to_owned()),
        Some(Blocker::Held) => ("Held", "see the node's condition AheadOfCloud".to_owned()),
        Some(Blocker::HeldAtNode(why)) => ("HeldAtNode", why),
        Some(Blocker::Offline) => (
            "Offline",
            "the node learns of it when it connects".to_owned(),
        ),
        Some(Blocker::RuntimeMissing) => (
            "RuntimeMissing",
            "the node has no ONNX Runtime; `edge-agent run --help` says where it looks for it"
                .to_owned(),
        ),
    };
    SlotReport {
        version: slot.version.clone(),
        state: SlotState::Pending,
        active: report.and_then(|report| report.active.clone()),
        reason: reason.to_owned(),
        message,
    }
}

fn conditions(
    name: &NodeName,
    node: &Node,
    ahead: Option<(&'static str, String)>,
    events: &mut Vec<Event>,
    now_ms: i64,
) -> Vec<Condition> {
    let stored = &node.status.conditions;
    let continued =
        |kind: &str, state, told| Condition::continued(stored, kind, state, told, now_ms);
    let (state, told) = connection(node);
    let connected = continued(CONNECTED, state, told);
    let before = find(stored, CONNECTED).map(|condition| condition.state);
    let regarding = || Regarding::Node(name.clone());
    let tell = |reason| Event::normal(reason, connected.message.clone(), regarding());
    match (before, state) {
        (None | Some(State::False | State::Unknown), State::True) => {
            events.push(tell("NodeConnected"));
        }
        (Some(State::True), State::False | State::Unknown) => events.push(tell("NodeSilent")),
        (Some(State::True), State::True)
        | (None | Some(State::False | State::Unknown), State::False | State::Unknown) => {}
    }
    let mut conditions = vec![connected];
    if let Some((reason, message)) = ahead {
        if find(stored, AHEAD_OF_CLOUD).is_none() {
            events.push(Event::warning(AHEAD_OF_CLOUD, message.clone(), regarding()));
        }
        conditions.push(continued(AHEAD_OF_CLOUD, State::True, (reason, message)));
    }
    let own = |kind: &str| kind != CONNECTED && kind != AHEAD_OF_CLOUD;
    let reported = node.report.conditions.iter().filter(|(kind, _)| own(kind));
    conditions.extend(reported.map(|(kind, reported)| {
        let told = (reported.reason.as_str(), reported.message.clone());
        continued(kind, reported.state, told)
    }));
    conditions
}

/// Why nothing is planned for a node that is ahead of this cloud, as reason and message.
fn ahead(snapshot: &Snapshot, name: &NodeName, node: &Node) -> Option<(&'static str, String)> {
    let standing = Standing::of(node);
    if !matches!(standing, Standing::Adopted { .. }) {
        return standing.hold(name);
    }
    if !node.report.tells_models() {
        let message = "what the node runs is adopted as soon as it says what that is; until then it keeps what it has";
        return Some(("AdoptedNotReported", message.to_owned()));
    }
    let unknown = content::unknown_versions(snapshot, node);
    let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    (!unknown.is_empty()).then(|| {
        let message = format!(
            "what the node runs is adopted as soon as these are pushed again: {}; until then it keeps what it has",
            unknown.join(", ")
        );
        ("AdoptedVersionUnknown", message)
    })
}

fn connection(node: &Node) -> (State, (&'static str, String)) {
    match (node.phase, node.liveness) {
        (Phase::Revoked, _) => {
            let message = "its rights were ended by an operator".to_owned();
            (State::False, ("Revoked", message))
        }
        (Phase::Decommissioned, _) => {
            let message = "it was taken out of service".to_owned();
            (State::False, ("Decommissioned", message))
        }
        (Phase::Enrolled, Liveness::Connected { transport, .. }) => {
            let by = match transport {
                Transport::Quic => "QUIC",
                Transport::WebSocket => "WebSocket",
            };
            (State::True, ("Session", format!("connected over {by}")))
        }
        (Phase::Enrolled, Liveness::Silent { since_ms: None }) => {
            let message = "enrolled, but never connected: is edge-agent running on it?".to_owned();
            (State::False, ("NeverConnected", message))
        }
        (Phase::Enrolled, Liveness::Silent { since_ms: Some(_) }) => {
            let message = "no session; it works on with what it has".to_owned();
            (State::False, ("Silent", message))
        }
    }
}

/// Tells how many nodes each site has.
pub(super) fn sites(snapshot: &Snapshot, plan: &mut Plan) {
    for (site, stored) in &snapshot.sites {
        let mut status = SiteStatus::default();
        for node in snapshot.nodes.values().filter(|node| node.site == *site) {
            match node.phase {
                Phase::Enrolled | Phase::Revoked => {
                    status.nodes += 1;
                    status.connected += u32::from(node.is_connected());
                }
                Phase::Decommissioned => {}
            }
        }
        if status != *stored {
            plan.sites.insert(site.clone(), status);
        }
    }
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
