//! From everything intended and observed to everything that has to be written.
//!
//! [`plan`] is level-triggered: it sees the whole snapshot, takes no hint about what changed, and a
//! snapshot that already holds its result makes an empty plan. What it returns is applied in one
//! transaction or not at all. On a lost or repeated run nothing is lost: the next one sees the facts.
//!
//! ```text
//! placement -> per deployment: rollout::advance -> per node: content -> generation -> statuses, events
//! ```

mod content;
mod event;
mod memory;
mod pipelines;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::Digest;
use millwright_proto::ids::{
    DeploymentName, Generation, ModelName, ModelVersion, NodeName, NodeUid, PipelineName, SiteName,
};

pub use self::event::{Event, Regarding, Severity};
pub use self::pipelines::{NODE_PIPELINES_BYTES_MAX, NODE_PIPELINES_MAX};

use crate::desired::{Content, Desired, Standing};
use crate::fleet::pipeline::{Pipeline, PipelineStatus};
use crate::fleet::placement::{self, Placement};
use crate::fleet::{Deployment, DeploymentStatus, Node, NodeStatus, SiteStatus};
use crate::rollout::{self, Case, Progress, Rollout};

/// Rollouts older than the newest succeeded one that are kept per deployment for people to read. Decisions never
/// look at them.
pub const ROLLOUT_HISTORY_MAX: usize = 20;

/// Everything a plan is made from: one tenant's intent and the observed facts, read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sites and their stored status.
    pub sites: BTreeMap<SiteName, SiteStatus>,
    /// Nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Every model version that was pushed, with what stands for its files and signature.
    pub versions: BTreeMap<ModelVersion, Digest>,
    /// Deployments.
    pub deployments: BTreeMap<DeploymentName, Deployment>,
    /// Rollouts by deployment and number, also of deployments that are gone.
    pub rollouts: BTreeMap<DeploymentName, BTreeMap<u64, Rollout>>,
    /// Pipelines.
    pub pipelines: BTreeMap<PipelineName, Pipeline>,
    /// Length of a summary window in milliseconds; 0 leaves it to the nodes.
    pub summary_window_ms: u32,
}

/// Everything that has to be written, in one transaction. Only what changes is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// New generations.
    pub desired: BTreeMap<NodeName, NewDesired>,
    /// New and changed rollouts.
    pub rollouts: BTreeMap<(DeploymentName, u64), Rollout>,
    /// Rollouts to remove: of deployments that are gone, and history beyond [`ROLLOUT_HISTORY_MAX`].
    pub forgotten: BTreeSet<(DeploymentName, u64)>,
    /// Changed statuses.
    pub deployments: BTreeMap<DeploymentName, DeploymentStatus>,
    /// Changed statuses.
    pub pipelines: BTreeMap<PipelineName, PipelineStatus>,
    /// Changed statuses.
    pub nodes: BTreeMap<NodeName, NodeStatus>,
    /// Changed statuses.
    pub sites: BTreeMap<SiteName, SiteStatus>,
    /// What to tell people.
    pub events: Vec<Event>,
}

/// A new generation of one node's desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDesired {
    /// The device.
    pub uid: NodeUid,
    /// Its number.
    pub generation: Generation,
    /// What it says.
    pub content: Content,
    /// As [`Desired::since`].
    pub since: BTreeMap<ModelName, Generation>,
}

impl Plan {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Plans for `snapshot` at `now_ms` (Unix milliseconds; only ever written down, never decided by).
#[must_use]
pub fn plan(snapshot: &Snapshot, now_ms: i64) -> Plan {
    let placement = placement::place(&snapshot.deployments, &snapshot.nodes);
    let mut plan = Plan::default();
    let mut contents = content::empty(snapshot);
    let voided = memory::voided(snapshot);
    for (name, deployment) in &snapshot.deployments {
        let nodes = nodes_of(snapshot, &placement, name);
        let progress = if snapshot.versions.contains_key(&deployment.target) {
            let history = voided.get(name).or(snapshot.rollouts.get(name));
            rollout::advance(Case {
                name,
                deployment,
                nodes: &nodes,
                history: history.unwrap_or(&BTreeMap::new()),
                now_ms,
            })
        } else {
            held(deployment, &nodes)
        };
        content::assign(&mut contents, snapshot, deployment, &progress);
        let lost = placement.lost.get(name);
        let case = status::DeploymentCase {
            snapshot,
            name,
            deployment,
            nodes: &nodes,
            lost,
            progress: &progress,
        };
        status::deployment(&case, &mut plan, now_ms);
        event::of_rollouts(snapshot, name, &progress, &mut plan.events);
        memory::write(snapshot, name, &voided, &mut plan);
        for (number, rollout) in progress.written {
            plan.rollouts.insert((name.clone(), number), rollout);
        }
        for waiting in progress.waiting {
            contents.remove(&waiting);
        }
    }
    content::keep_adopted(&mut contents, snapshot);
    content::adopt(&mut contents, snapshot, &placement);
    let withheld = pipelines::assign(&mut contents, snapshot);
    for (name, node) in &snapshot.nodes {
        desire(name, node, contents.remove(name), &mut plan);
        let pipelines = pipelines::of_node(snapshot, (name, node), &withheld);
        status::node(snapshot, (name, node), pipelines, &mut plan, now_ms);
    }
    pipelines::statuses(snapshot, &withheld, &mut plan, now_ms);
    status::sites(snapshot, &mut plan);
    forget(snapshot, &mut plan);
    plan
}

fn nodes_of<'a>(
    snapshot: &'a Snapshot,
    placement: &'a Placement,
    name: &DeploymentName,
) -> BTreeMap<&'a NodeName, &'a Node> {
    let names = placement.nodes.get(name).into_iter().flatten();
    names
        .filter_map(|name| snapshot.nodes.get_key_value(name))
        .collect()
}

/// A deployment of an unknown version holds: its nodes keep what they have, its rollouts rest.
fn held(deployment: &Deployment, nodes: &BTreeMap<&NodeName, &Node>) -> Progress {
    let keeps = |(name, node): (&&NodeName, &&Node)| {
        let content = &node.desired.as_ref()?.content;
        let slot = content.slots.get(&deployment.target.model)?;
        Some(((*name).clone(), slot.version.clone()))
    };
    Progress {
        assigned: nodes.iter().filter_map(keeps).collect(),
        ..Progress::default()
    }
}

/// Gives a node new content under a new generation, if it differs and the node is planned for.
fn desire(name: &NodeName, node: &Node, content: Option<Content>, plan: &mut Plan) {
    let Some(content) = content else { return };
    let stored = node.desired.as_ref();
    let stored_content = stored.map(|desired| &desired.content);
    let (generation, since) = match Standing::of(node) {
        Standing::Level { next } if stored_content != Some(&content) => {
            (next, Desired::since(stored, &content, next))
        }
        // What the node reported until now was about contents this cloud never stored.
        Standing::Reasserted { next } | Standing::Adopted { next } => {
            (next, Desired::since(None, &content, next))
        }
        Standing::Level { .. }
        | Standing::Ahead { .. }
        | Standing::Unheard
        | Standing::OutOfReach { .. } => return,
    };
    let uid = node.uid;
    let desired = NewDesired {
        uid,
        generation,
        content,
        since,
    };
    plan.desired.insert(name.clone(), desired);
}

fn forget(snapshot: &Snapshot, plan: &mut Plan) {
    for (name, rollouts) in &snapshot.rollouts {
        let forgotten: Vec<_> = if snapshot.deployments.contains_key(name) {
            let newest_proven = rollouts
                .iter()
                .rev()
                .find(|(_, rollout)| rollout.phase == rollout::Phase::Succeeded);
            let history = newest_proven.map_or(0, |(number, _)| *number);
            let older = rollouts.range(..history).rev();
            older
                .skip(ROLLOUT_HISTORY_MAX)
                .map(|(number, _)| *number)
                .collect()
        } else {
            rollouts.keys().copied().collect()
        };
        let forgotten = forgotten.into_iter().map(|number| (name.clone(), number));
        plan.forgotten.extend(forgotten);
    }
    let forgotten = &plan.forgotten;
    plan.rollouts.retain(|key, _| !forgotten.contains(key));
}

#[cfg(test)]
mod tests;
