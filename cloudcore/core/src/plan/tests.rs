//! Behaviour of whole plans, on snapshots that plans are applied to.

mod budget;
mod pipelines;
mod properties;
mod standing;

use std::num::NonZeroU32;

use millwright_proto::ids::ModelName;

use super::*;
use crate::fleet::condition::{State, find};
use crate::fleet::{Liveness, Memory, Phase, SlotReport, SlotState, Transport};
use crate::rollout::budget::Budget;
use crate::rollout::gate::Verdict;
use crate::rollout::waves::WaveSpec;
use crate::simulation::world::{apply, deployment, node, version};

const NOW: i64 = 1_000;

fn settle(snapshot: &mut Snapshot) -> Vec<Plan> {
    let mut plans = Vec::new();
    loop {
        let plan = plan(snapshot, NOW);
        if plan.is_empty() {
            return plans;
        }
        apply(snapshot, &plan);
        plans.push(plan);
        assert!(plans.len() < 10, "plans never settle: {plans:?}");
    }
}

/// The node reports its desired state as applied, every slot at `state`.
fn report(snapshot: &mut Snapshot, name: &str, state: SlotState) {
    let node = snapshot
        .nodes
        .get_mut(&name.parse::<NodeName>().unwrap())
        .unwrap();
    let desired = node.desired.as_ref().unwrap();
    node.report.applied = Some((desired.generation, desired.digest));
    let slots = desired.content.slots.iter().map(|(model, slot)| {
        let before = node.report.slots.get(model).and_then(|s| s.active.clone());
        let active = if state == SlotState::Active {
            Some(slot.version.clone())
        } else {
            before
        };
        let report = SlotReport {
            version: slot.version.clone(),
            state,
            active,
            reason: "GoldenMismatch".to_owned(),
            message: "output differs".to_owned(),
        };
        (model.clone(), report)
    });
    node.report.slots = slots.collect();
}

fn fleet(nodes: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for name in nodes {
        snapshot.nodes.insert(name.parse().unwrap(), node(name));
    }
    for id in ["m@1", "m@2", "m@3"] {
        let (id, package) = version(id);
        snapshot.versions.insert(id, package);
    }
    snapshot
}

/// A fleet on which `m@1` is active everywhere, by the deployment `d`.
fn running(nodes: &[&str]) -> Snapshot {
    let mut snapshot = fleet(nodes);
    deploy(&mut snapshot, "d", "m@1", &[]);
    settle(&mut snapshot);
    for name in nodes {
        report(&mut snapshot, name, SlotState::Active);
    }
    settle(&mut snapshot);
    snapshot
}

fn deploy(snapshot: &mut Snapshot, name: &str, target: &str, waves: &[u8]) {
    let name: DeploymentName = name.parse().unwrap();
    let before = snapshot.deployments.remove(&name);
    let generation = before.as_ref().map_or(1, |before| before.generation + 1);
    let mut new = deployment(target, generation);
    new.status = before.map(|before| before.status).unwrap_or_default();
    new.strategy.waves = waves
        .iter()
        .map(|percent| WaveSpec {
            name: format!("p{percent}"),
            percent: *percent,
        })
        .collect();
    snapshot.deployments.insert(name, new);
}

fn wanted(snapshot: &Snapshot, name: &str) -> Option<String> {
    let node = &snapshot.nodes[&name.parse::<NodeName>().unwrap()];
    let slot = node.desired.as_ref()?.content.slots.get(&model())?;
    Some(slot.version.to_string())
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

fn rollout<'a>(snapshot: &'a Snapshot, name: &str, number: u64) -> &'a Rollout {
    &snapshot.rollouts[&name.parse::<DeploymentName>().unwrap()][&number]
}

#[test]
fn one_wave_reaches_every_node_and_succeeds_when_all_report_active() {
    let mut fleet = fleet(&["a", "b"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    assert_eq!(rollout(&fleet, "d", 1).phase, rollout::Phase::Progressing);
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    let first = rollout(&fleet, "d", 1);
    assert_eq!(first.phase, rollout::Phase::Progressing);
    assert_eq!(
        first.message,
        "wave `all` (1 of 1): 1 of 2 nodes pass; waits for b"
    );
    report(&mut fleet, "b", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(rollout(&fleet, "d", 1).phase, rollout::Phase::Succeeded);
    let status = &fleet.deployments.values().next().unwrap().status;
    assert_eq!(
        (status.selected, status.active, status.rollout),
        (2, 2, Some(1))
    );
    let available = find(&status.conditions, "Available").unwrap();
    assert_eq!(available.state, State::True);
}

#[test]
fn the_next_wave_begins_only_when_the_one_before_passed() {
    let mut fleet = running(&["a", "b", "c", "d"]);
    deploy(&mut fleet, "d", "m@2", &[25]);
    settle(&mut fleet);
    let wants = |fleet: &Snapshot| ["a", "b", "c", "d"].map(|name| wanted(fleet, name).unwrap());
    assert_eq!(wants(&fleet), ["2", "1", "1", "1"]);
    report(&mut fleet, "a", SlotState::Warmed);
    settle(&mut fleet);
    assert_eq!(wants(&fleet), ["2", "1", "1", "1"]);
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(wants(&fleet), ["2", "2", "2", "2"]);
}

#[test]
fn a_refusal_stops_later_waves_and_nobody_else_moves() {
    let mut fleet = running(&["a", "b"]);
    deploy(&mut fleet, "d", "m@2", &[50]);
    settle(&mut fleet);
    report(&mut fleet, "a", SlotState::Failed);
    settle(&mut fleet);
    let failed = rollout(&fleet, "d", 2);
    assert_eq!(failed.phase, rollout::Phase::Failed);
    assert_eq!(failed.verdict(&"a".parse().unwrap()), Verdict::Fail);
    assert!(
        failed.message.contains("GoldenMismatch"),
        "{}",
        failed.message
    );
    assert_eq!(wanted(&fleet, "b").as_deref(), Some("1"));
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    assert_eq!(rollout(&fleet, "d", 2).phase, rollout::Phase::Failed);
}

#[test]
fn a_superseded_first_rollout_never_takes_the_model_away() {
    let mut fleet = fleet(&["a", "b"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    deploy(&mut fleet, "d", "m@2", &[50]);
    settle(&mut fleet);
    assert_eq!(rollout(&fleet, "d", 1).phase, rollout::Phase::Superseded);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("2"));
    assert_eq!(wanted(&fleet, "b").as_deref(), Some("1"));
}

#[test]
fn a_node_enrolled_later_gets_the_version_without_another_rollout() {
    let mut fleet = running(&["a"]);
    fleet.nodes.insert("late".parse().unwrap(), node("late"));
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "late").as_deref(), Some("1"));
    assert_eq!(fleet.rollouts.values().next().unwrap().len(), 1);
}

#[test]
fn a_late_node_waits_for_the_last_wave_of_a_moving_rollout() {
    let mut fleet = running(&["a", "b"]);
    deploy(&mut fleet, "d", "m@2", &[50]);
    fleet.nodes.insert("late".parse().unwrap(), node("late"));
    settle(&mut fleet);
    fleet.nodes.insert("later".parse().unwrap(), node("later"));
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "later").as_deref(), Some("1"));
    report(&mut fleet, "a", SlotState::Active);
    report(&mut fleet, "b", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "later").as_deref(), Some("2"));
}

#[test]
fn a_deleted_deployment_takes_its_model_and_its_rollouts_with_it() {
    let mut fleet = fleet(&["a"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    fleet.deployments.clear();
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a"), None);
    assert!(fleet.rollouts.values().all(BTreeMap::is_empty));
}

#[test]
fn an_unknown_version_is_told_and_moves_nothing() {
    let mut fleet = fleet(&["a"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    deploy(&mut fleet, "d", "m@9", &[]);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    assert_eq!(fleet.rollouts.values().next().unwrap().len(), 1);
    let status = &fleet.deployments.values().next().unwrap().status;
    let progressing = find(&status.conditions, "Progressing").unwrap();
    assert_eq!(
        (progressing.state, progressing.reason.as_str()),
        (State::False, "UnknownVersion")
    );
    let (id, package) = version("m@9");
    fleet.versions.insert(id, package);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("9"));
}

#[test]
fn of_two_deployments_of_one_model_the_older_keeps_the_node() {
    let mut fleet = fleet(&["a"]);
    deploy(&mut fleet, "young", "m@2", &[]);
    deploy(&mut fleet, "old", "m@1", &[]);
    let young = fleet
        .deployments
        .get_mut(&"young".parse().unwrap())
        .unwrap();
    young.created_ms = 50;
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    let status = &fleet.deployments[&"young".parse().unwrap()].status;
    let conflict = find(&status.conditions, "Conflict").unwrap();
    assert!(
        conflict.message.contains("Node/a (ModelDeployment/old)"),
        "{}",
        conflict.message
    );
    fleet.deployments.remove(&"old".parse().unwrap());
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("2"));
}

#[test]
fn a_device_that_takes_over_a_name_passes_no_gate_for_the_one_before() {
    let mut fleet = fleet(&["a", "b"]);
    deploy(&mut fleet, "d", "m@1", &[50]);
    settle(&mut fleet);
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(rollout(&fleet, "d", 1).wave, 1);
    let name: NodeName = "a".parse().unwrap();
    let mut replaced = node("a");
    replaced.uid = millwright_proto::ids::NodeUid::from_bytes([9; 16]);
    fleet.nodes.insert(name.clone(), replaced);
    settle(&mut fleet);
    report(&mut fleet, "b", SlotState::Active);
    settle(&mut fleet);
    let held = rollout(&fleet, "d", 1);
    assert_eq!(held.verdict(&name), Verdict::Inconclusive);
    assert_eq!(held.phase, crate::rollout::Phase::Progressing);
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    let done = rollout(&fleet, "d", 1);
    assert_eq!(done.phase, crate::rollout::Phase::Succeeded);
}

#[test]
fn a_rollout_says_which_nodes_it_waits_for_and_why() {
    let mut fleet = fleet(&["a", "b"]);
    let held = crate::fleet::ReportedCondition {
        state: State::True,
        reason: "HeldAtNode".to_owned(),
        message: "quality audit".to_owned(),
    };
    let node = |fleet: &mut Snapshot, name: &str, change: &dyn Fn(&mut crate::fleet::Node)| {
        change(
            fleet
                .nodes
                .get_mut(&name.parse::<NodeName>().unwrap())
                .unwrap(),
        );
    };
    node(&mut fleet, "a", &|node| {
        node.report
            .conditions
            .insert("Held".to_owned(), held.clone());
    });
    node(&mut fleet, "b", &|node| {
        node.liveness = Liveness::Silent { since_ms: Some(3) };
    });
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    let rollout = rollout(&fleet, "d", 1);
    assert_eq!(rollout.phase, crate::rollout::Phase::Progressing);
    assert!(
        rollout
            .message
            .ends_with("waits for a (held at the node), b (not connected)"),
        "{}",
        rollout.message
    );
    let of = |name: &str| rollout.nodes[&name.parse::<NodeName>().unwrap()].1.clone();
    assert!(of("a").contains("quality audit"), "{}", of("a"));
    let told = &fleet.nodes[&"a".parse::<NodeName>().unwrap()].status.models[&model()];
    assert_eq!(told.reason, "HeldAtNode");
}

#[test]
fn a_wave_that_lost_all_its_nodes_proves_nothing() {
    let mut fleet = fleet(&["a", "b"]);
    deploy(&mut fleet, "d", "m@1", &[50]);
    settle(&mut fleet);
    let canary = fleet
        .nodes
        .get_mut(&"a".parse::<NodeName>().unwrap())
        .unwrap();
    canary.phase = Phase::Decommissioned;
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "b"), None);
    let held = rollout(&fleet, "d", 1);
    assert!(held.message.contains("no node left"), "{}", held.message);
}

#[test]
fn a_node_reads_why_it_is_where_it_is() {
    let mut fleet = fleet(&["a"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    let name: NodeName = "a".parse().unwrap();
    fleet.nodes.get_mut(&name).unwrap().liveness = Liveness::Silent { since_ms: Some(3) };
    settle(&mut fleet);
    let status = &fleet.nodes[&name].status;
    assert_eq!(status.models[&model()].reason, "Offline");
    assert_eq!(
        find(&status.conditions, "Connected").unwrap().reason,
        "Silent"
    );
    fleet.nodes.get_mut(&name).unwrap().liveness = Liveness::Connected {
        transport: Transport::Quic,
        last_seen_ms: 9,
    };
    let plans = settle(&mut fleet);
    assert_eq!(plans[0].events[0].reason, "NodeConnected");
}
