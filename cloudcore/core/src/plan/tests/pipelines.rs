//! Which node is told which pipeline, and what is told of both.

use millwright_proto::ids::PipelineName;

use super::*;
use crate::fleet::pipeline::{
    Pipeline, PipelineReport, PipelineState, PipelineStatus, PipelineSupport,
};
use crate::fleet::selector::Selector;

fn name(text: &str) -> PipelineName {
    text.parse().unwrap()
}

fn add(snapshot: &mut Snapshot, called: &str, document: &str, created_ms: i64) {
    let before = snapshot.pipelines.remove(&name(called));
    let pipeline = Pipeline {
        generation: before.as_ref().map_or(1, |before| before.generation + 1),
        created_ms,
        selector: Selector::default(),
        document: Digest::of(document.as_bytes()),
        document_bytes: 1000,
        status: before.map(|before| before.status).unwrap_or_default(),
    };
    snapshot.pipelines.insert(name(called), pipeline);
}

fn status<'s>(snapshot: &'s Snapshot, called: &str) -> &'s PipelineStatus {
    &snapshot.pipelines[&name(called)].status
}

/// The node says of every pipeline it was told that it is in `state`.
fn tell(snapshot: &mut Snapshot, node: &str, state: PipelineState, reason: &str) {
    let node: NodeName = node.parse().unwrap();
    let node = snapshot.nodes.get_mut(&node).unwrap();
    let told = node.desired.as_ref().unwrap().content.pipelines.iter();
    let reports = told.map(|(pipeline, document)| {
        let report = PipelineReport {
            document: Some(*document),
            state,
            reason: reason.to_owned(),
            message: "words".to_owned(),
        };
        (pipeline.clone(), report)
    });
    node.report.pipelines = reports.collect();
}

fn on_node<'s>(snapshot: &'s Snapshot, node: &str, called: &str) -> &'s PipelineReport {
    let node: NodeName = node.parse().unwrap();
    &snapshot.nodes[&node].status.pipelines[&name(called)]
}

fn told(snapshot: &Snapshot, node: &str) -> Vec<String> {
    let node: NodeName = node.parse().unwrap();
    let desired = snapshot.nodes[&node].desired.as_ref();
    let names = desired.iter().flat_map(|d| d.content.pipelines.keys());
    names.map(ToString::to_string).collect()
}

#[test]
fn a_pipeline_is_told_its_nodes_and_counted_by_what_they_say_of_it_as_it_is_now() {
    let mut snapshot = running(&["a", "b"]);
    add(&mut snapshot, "gate", "one", 0);
    settle(&mut snapshot);
    assert_eq!(told(&snapshot, "a"), ["gate"]);
    assert_eq!(wanted(&snapshot, "a").as_deref(), Some("1"));
    tell(&mut snapshot, "a", PipelineState::Running, "");
    tell(&mut snapshot, "b", PipelineState::SourceUnreachable, "");
    settle(&mut snapshot);
    let now = status(&snapshot, "gate");
    assert_eq!((now.selected, now.running, now.refused), (2, 1, 0));
    let said = &now.conditions[0].message;
    assert!(said.contains("Node/b SourceUnreachable: words"), "{said}");

    let generation = snapshot.nodes[&"a".parse().unwrap()].desired.clone();
    add(&mut snapshot, "gate", "two", 0);
    settle(&mut snapshot);
    let desired = snapshot.nodes[&"a".parse().unwrap()].desired.clone();
    assert!(desired.unwrap().generation > generation.unwrap().generation);
    let pending = on_node(&snapshot, "a", "gate").state;
    assert_eq!(
        pending,
        PipelineState::Pending,
        "it spoke of the one before"
    );
    assert_eq!(status(&snapshot, "gate").running, 0);
    for node in ["a", "b"] {
        tell(&mut snapshot, node, PipelineState::Running, "");
    }
    settle(&mut snapshot);
    let condition = &status(&snapshot, "gate").conditions[0];
    assert_eq!(
        (condition.state, condition.reason.as_str()),
        (State::True, "AllRunning")
    );

    snapshot.pipelines.clear();
    settle(&mut snapshot);
    assert!(told(&snapshot, "a").is_empty());
    let node = &snapshot.nodes[&"a".parse().unwrap()];
    assert!(node.status.pipelines.is_empty());
}

#[test]
fn an_agent_that_is_too_old_is_told_nothing_and_its_status_says_so() {
    let mut snapshot = fleet(&["a", "b"]);
    let old: NodeName = "a".parse().unwrap();
    snapshot.nodes.get_mut(&old).unwrap().pipelines = PipelineSupport::TooOld;
    settle(&mut snapshot);
    let before = snapshot.nodes[&old].desired.clone();
    add(&mut snapshot, "gate", "one", 0);
    let plans = settle(&mut snapshot);
    assert_eq!(snapshot.nodes[&old].desired, before);
    assert_eq!(told(&snapshot, "b"), ["gate"]);
    let report = on_node(&snapshot, "a", "gate");
    assert_eq!(
        (report.state, report.reason.as_str()),
        (PipelineState::Refused, "AgentTooOld")
    );
    let now = status(&snapshot, "gate");
    assert_eq!((now.selected, now.refused), (2, 1));
    let said = &now.conditions[0].message;
    assert!(
        said.starts_with("1 of 2 nodes do not take it; Node/a Refused: AgentTooOld"),
        "{said}"
    );
    let events: Vec<_> = plans.iter().flat_map(|plan| &plan.events).collect();
    let refused = events
        .iter()
        .filter(|event| event.reason == "PipelineRefused");
    assert_eq!(refused.count(), 1, "it is told once");
}

#[test]
fn where_not_all_fit_the_older_ones_stay() {
    let mut snapshot = fleet(&["a"]);
    for at in 0..NODE_PIPELINES_MAX {
        add(&mut snapshot, &format!("old-{at}"), &at.to_string(), 1);
    }
    settle(&mut snapshot);
    add(&mut snapshot, "a-new-one", "new", 2);
    settle(&mut snapshot);
    assert_eq!(told(&snapshot, "a").len(), NODE_PIPELINES_MAX);
    assert_eq!(on_node(&snapshot, "a", "a-new-one").reason, "NoRoom");
    assert_eq!(on_node(&snapshot, "a", "old-7").reason, "");

    let mut snapshot = fleet(&["a"]);
    for (at, called) in ["big", "bigger"].into_iter().enumerate() {
        add(&mut snapshot, called, called, i64::try_from(at).unwrap());
        let pipeline = snapshot.pipelines.get_mut(&name(called)).unwrap();
        pipeline.document_bytes = NODE_PIPELINES_BYTES_MAX / 2 + at;
    }
    settle(&mut snapshot);
    assert_eq!(told(&snapshot, "a"), ["big"]);
}

#[test]
fn pipelines_leave_the_slots_of_models_and_their_evidence_alone() {
    let mut snapshot = running(&["a"]);
    let a: NodeName = "a".parse().unwrap();
    let before = snapshot.nodes[&a].desired.clone().unwrap();
    add(&mut snapshot, "gate", "one", 0);
    settle(&mut snapshot);
    let after = snapshot.nodes[&a].desired.clone().unwrap();
    assert_eq!(after.content.slots, before.content.slots);
    assert_eq!(after.since, before.since);
    let rollouts = &snapshot.rollouts[&"d".parse().unwrap()];
    assert_eq!(rollouts.len(), 1, "no rollout begins");
}
