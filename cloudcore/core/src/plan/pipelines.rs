//! Pipelines: which node is told which, and what is told of both.
//!
//! A node gets every pipeline that selects it, unless its agent cannot run them or they are too many: then the older
//! ones (by creation time, then by name) stay, so that a new pipeline never stops one that runs. Which nodes run what
//! is a function of the intent alone; how they are doing is what they report of the document as it is now.

use std::collections::BTreeMap;

use millwright_proto::ids::{NodeName, PipelineName};

use super::event::{Event, Regarding};
use super::status::count;
use super::{Plan, Snapshot};
use crate::desired::Content;
use crate::fleet::Node;
use crate::fleet::condition::{Condition, State, find};
use crate::fleet::pipeline::{
    Pipeline, PipelineReport, PipelineState, PipelineStatus, PipelineSupport,
};

/// Pipelines of one node: what an agent runs at most, its own files among them.
pub const NODE_PIPELINES_MAX: usize = 64;

/// Bytes of all pipeline documents of one node: half a frame, so that a desired document of fifty models fits beside.
pub const NODE_PIPELINES_BYTES_MAX: usize = 512 * 1024;

/// Type of the condition of a pipeline.
const RUNNING: &str = "Running";

/// Why a node is not told of a pipeline that selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withheld {
    /// Nobody knows yet whether its agent can.
    NeverConnected,
    /// Its agent cannot.
    AgentTooOld,
    /// It has too many, or too long ones.
    NoRoom,
}

/// Per node and pipeline.
pub(super) type AllWithheld<'a> = BTreeMap<(&'a NodeName, &'a PipelineName), Withheld>;

/// Adds pipelines to the contents; returns what is withheld from whom.
pub(super) fn assign<'a>(
    contents: &mut BTreeMap<NodeName, Content>,
    snapshot: &'a Snapshot,
) -> AllWithheld<'a> {
    let mut by_age: Vec<_> = snapshot.pipelines.iter().collect();
    by_age.sort_by_key(|(name, pipeline)| (pipeline.created_ms, *name));
    let mut withheld = BTreeMap::new();
    for (node_name, node) in &snapshot.nodes {
        let mut content = contents.get_mut(node_name);
        let (mut number, mut bytes) = (0, 0);
        for (name, pipeline) in &by_age {
            if !pipeline.selector.selects(node) {
                continue;
            }
            let why = match node.pipelines {
                PipelineSupport::Unknown => Some(Withheld::NeverConnected),
                PipelineSupport::TooOld => Some(Withheld::AgentTooOld),
                PipelineSupport::Runs => (number == NODE_PIPELINES_MAX
                    || bytes + pipeline.document_bytes > NODE_PIPELINES_BYTES_MAX)
                    .then_some(Withheld::NoRoom),
            };
            if let Some(why) = why {
                withheld.insert((node_name, *name), why);
                continue;
            }
            number += 1;
            bytes += pipeline.document_bytes;
            if let Some(content) = &mut content {
                content.pipelines.insert((*name).clone(), pipeline.document);
            }
        }
    }
    withheld
}

/// What is told of the pipelines of one node: its own words where it speaks of them as they are now.
pub(super) fn of_node(
    snapshot: &Snapshot,
    (name, node): (&NodeName, &Node),
    withheld: &AllWithheld<'_>,
) -> BTreeMap<PipelineName, PipelineReport> {
    let mut told = BTreeMap::new();
    for (pipeline_name, pipeline) in &snapshot.pipelines {
        if pipeline.selector.selects(node) {
            let why = withheld.get(&(name, pipeline_name)).copied();
            told.insert(
                pipeline_name.clone(),
                report(node, pipeline_name, pipeline, why),
            );
        }
    }
    told
}

fn report(
    node: &Node,
    name: &PipelineName,
    pipeline: &Pipeline,
    withheld: Option<Withheld>,
) -> PipelineReport {
    let told = |state, reason: &str, message: String| PipelineReport {
        document: None,
        state,
        reason: reason.to_owned(),
        message,
    };
    match withheld {
        Some(Withheld::NeverConnected) => {
            let message = "the node never connected".to_owned();
            return told(PipelineState::Pending, "NeverConnected", message);
        }
        Some(Withheld::AgentTooOld) => {
            let message = "its agent is older than pipelines from the cloud: update edge-agent";
            return told(PipelineState::Refused, "AgentTooOld", message.to_owned());
        }
        Some(Withheld::NoRoom) => {
            let message = format!(
                "a node takes {NODE_PIPELINES_MAX} pipelines with {} KiB from the cloud, and older ones have that \
                 already: narrow their selectors",
                NODE_PIPELINES_BYTES_MAX / 1024
            );
            return told(PipelineState::Refused, "NoRoom", message);
        }
        None => {}
    }
    let report = node.report.pipelines.get(name);
    match report.filter(|report| report.document == Some(pipeline.document)) {
        // Which document it was says nothing to people.
        Some(report) => PipelineReport {
            document: None,
            ..report.clone()
        },
        None if node.is_connected() => told(PipelineState::Pending, "", String::new()),
        None => {
            let message = "the node learns of it when it connects".to_owned();
            told(PipelineState::Pending, "Offline", message)
        }
    }
}

/// Tells how every pipeline is doing.
pub(super) fn statuses(
    snapshot: &Snapshot,
    withheld: &AllWithheld<'_>,
    plan: &mut Plan,
    now_ms: i64,
) {
    for (name, pipeline) in &snapshot.pipelines {
        let mut on_nodes = Vec::new();
        for (node_name, node) in &snapshot.nodes {
            if pipeline.selector.selects(node) {
                let why = withheld.get(&(node_name, name)).copied();
                on_nodes.push((node_name, report(node, name, pipeline, why)));
            }
        }
        let of = |state| on_nodes.iter().filter(move |(_, told)| told.state == state);
        let running = of(PipelineState::Running).count();
        let refused = of(PipelineState::Refused).count();
        let stored = &pipeline.status;
        let (state, told) = verdict(&on_nodes, running, refused);
        let was_refused = find(&stored.conditions, RUNNING).is_some_and(|c| c.reason == REFUSED);
        if told.0 == REFUSED && !was_refused {
            let regarding = Regarding::Pipeline(name.clone());
            let message = told.1.clone();
            plan.events
                .push(Event::warning("PipelineRefused", message, regarding));
        }
        let status = PipelineStatus {
            observed_generation: pipeline.generation,
            conditions: vec![Condition::continued(
                &stored.conditions,
                RUNNING,
                state,
                told,
                now_ms,
            )],
            selected: count(on_nodes.len()),
            running: count(running),
            refused: count(refused),
        };
        if status != *stored {
            plan.pipelines.insert(name.clone(), status);
        }
    }
}

/// Reason of the condition while a node does not take the pipeline.
const REFUSED: &str = "Refused";

fn verdict(
    on_nodes: &[(&NodeName, PipelineReport)],
    running: usize,
    refused: usize,
) -> (State, (&'static str, String)) {
    let all = on_nodes.len();
    if all == 0 {
        let message = "the selector selects no enrolled node".to_owned();
        return (State::False, ("NoNodes", message));
    }
    if running == all {
        return (
            State::True,
            ("AllRunning", format!("runs on all {all} nodes")),
        );
    }
    let worst = if refused > 0 {
        PipelineState::Refused
    } else {
        let waits = |told: &PipelineReport| match told.state {
            PipelineState::Pending | PipelineState::Starting | PipelineState::Running => false,
            PipelineState::SourceUnreachable
            | PipelineState::WaitingForModel
            | PipelineState::Unfit
            | PipelineState::SinkFailing
            | PipelineState::Refused => true,
        };
        let troubled = on_nodes.iter().find(|(_, told)| waits(told));
        troubled.map_or(PipelineState::Pending, |(_, told)| told.state)
    };
    let first = on_nodes.iter().find(|(_, told)| told.state == worst);
    let first = first.map_or_else(String::new, |(node, told)| {
        let words: Vec<&str> = [told.reason.as_str(), told.message.as_str()]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let words = if words.is_empty() {
            String::new()
        } else {
            format!(": {}", words.join(": "))
        };
        format!("; Node/{node} {worst:?}{words}")
    });
    if refused > 0 {
        let message = format!("{refused} of {all} nodes do not take it{first}");
        return (State::False, (REFUSED, message));
    }
    let message = format!("runs on {running} of {all} nodes{first}");
    (State::False, ("SomeNotRunning", message))
}
