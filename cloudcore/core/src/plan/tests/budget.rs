//! How many nodes change at once.

use super::*;

#[test]
fn nodes_made_to_follow_the_cloud_again_do_so_within_the_budget() {
    let names = ["a", "b", "c"];
    let mut fleet = running(&names);
    let only = fleet.deployments.values_mut().next().unwrap();
    only.strategy.budget = Budget::AtMost(NonZeroU32::MIN);
    for node in fleet.nodes.values_mut() {
        node.report.applied = Some((Generation::new(40), Digest::of(b"unknown")));
        node.reassert = Some(Generation::new(40));
    }
    for following in 1..=names.len() {
        settle(&mut fleet);
        let told: Vec<&str> = names
            .into_iter()
            .filter(|name| generation(&fleet, name) == 41)
            .collect();
        assert_eq!(told.len(), following);
        report(&mut fleet, told[told.len() - 1], SlotState::Active);
    }
}

fn generation(fleet: &Snapshot, name: &str) -> u64 {
    let node = &fleet.nodes[&name.parse::<NodeName>().unwrap()];
    node.desired.as_ref().unwrap().generation.get()
}

#[test]
fn the_budget_bounds_how_many_change_and_connected_nodes_go_first() {
    let mut fleet = fleet(&["a", "b", "c"]);
    let silent = fleet
        .nodes
        .get_mut(&"a".parse::<NodeName>().unwrap())
        .unwrap();
    silent.liveness = Liveness::Silent { since_ms: None };
    deploy(&mut fleet, "d", "m@1", &[]);
    let only = fleet.deployments.values_mut().next().unwrap();
    only.strategy.budget = Budget::AtMost(NonZeroU32::MIN);
    settle(&mut fleet);
    let wants = |fleet: &Snapshot| ["a", "b", "c"].map(|name| wanted(fleet, name).is_some());
    assert_eq!(wants(&fleet), [false, true, false]);
    report(&mut fleet, "b", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(wants(&fleet), [false, true, true]);
    report(&mut fleet, "c", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(wants(&fleet), [true, true, true]);
}

#[test]
fn nodes_that_restart_together_do_not_change_together() {
    let mut fleet = running(&["a", "b", "c"]);
    deploy(&mut fleet, "d", "m@2", &[]);
    let deployment = fleet.deployments.values_mut().next().unwrap();
    deployment.strategy.budget = Budget::AtMost(NonZeroU32::MIN);
    for name in ["a", "b", "c"] {
        report(&mut fleet, name, SlotState::Verified);
    }
    settle(&mut fleet);
    let told = |name: &&&str| wanted(&fleet, name).as_deref() == Some("2");
    assert_eq!(["a", "b", "c"].iter().filter(told).count(), 1);
}

#[test]
fn a_node_that_gave_a_version_up_is_not_sent_back_to_it() {
    let mut fleet = running(&["a", "b"]);
    deploy(&mut fleet, "d", "m@2", &[]);
    settle(&mut fleet);
    // It is active on both, and `a` gives it up first; `b` does so after the rollout has failed.
    for (name, state) in [
        ("b", SlotState::Active),
        ("a", SlotState::Failed),
        ("b", SlotState::Failed),
    ] {
        report(&mut fleet, name, state);
        settle(&mut fleet);
    }
    deploy(&mut fleet, "d", "m@3", &[1]);
    settle(&mut fleet);
    for _ in 0..3 {
        assert_eq!(wanted(&fleet, "b").as_deref(), Some("1"));
        report(&mut fleet, "b", SlotState::Active);
        settle(&mut fleet);
    }
}

#[test]
fn a_node_that_tries_a_refused_version_again_takes_no_place_from_one_that_changes() {
    let mut fleet = running(&["a", "b", "c"]);
    let (other, package) = version("k@1");
    fleet.versions.insert(other, package);
    deploy(&mut fleet, "d", "m@2", &[]);
    settle(&mut fleet);
    // `b` refuses it when the rollout has failed already; of `c` nothing is heard.
    for name in ["a", "b"] {
        report(&mut fleet, name, SlotState::Failed);
        settle(&mut fleet);
    }
    let silent: NodeName = "c".parse().unwrap();
    fleet.nodes.get_mut(&silent).unwrap().memory = Memory::Restored;
    deploy(&mut fleet, "d", "m@3", &[]);
    let deployment = fleet.deployments.values_mut().next().unwrap();
    deployment.strategy.budget = Budget::AtMost(NonZeroU32::new(2).unwrap());
    settle(&mut fleet);
    let wants =
        |fleet: &Snapshot| ["a", "b", "c"].map(|name| wanted(fleet, name).unwrap_or_default());
    assert_eq!(wants(&fleet), ["3", "2", "2"]);
    // Another model gives `b` a new generation, under which it begins anew.
    deploy(&mut fleet, "other", "k@1", &[]);
    settle(&mut fleet);
    report(&mut fleet, "b", SlotState::Pending);
    settle(&mut fleet);
    assert_eq!(wants(&fleet), ["3", "2", "2"]);
    fleet.nodes.get_mut(&silent).unwrap().memory = Memory::Whole;
    settle(&mut fleet);
    assert_eq!(wants(&fleet), ["3", "2", "3"]);
}
