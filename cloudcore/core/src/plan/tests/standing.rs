//! Nodes that are ahead of the cloud, or that a restored cloud has not heard yet.

use super::*;

#[test]
fn a_node_ahead_of_the_cloud_is_left_alone_until_an_operator_decides() {
    let mut fleet = fleet(&["a"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    let name: NodeName = "a".parse().unwrap();
    let ahead = (Generation::new(40), Digest::of(b"unknown"));
    fleet.nodes.get_mut(&name).unwrap().report.applied = Some(ahead);
    deploy(&mut fleet, "d", "m@2", &[]);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    let told = find(&fleet.nodes[&name].status.conditions, "AheadOfCloud").unwrap();
    assert!(
        told.message.contains("fleetctl node adopt a")
            && told.message.contains("fleetctl node reassert a"),
        "{}",
        told.message
    );
    fleet.nodes.get_mut(&name).unwrap().reassert = Some(Generation::new(39));
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    fleet.nodes.get_mut(&name).unwrap().reassert = Some(Generation::new(40));
    settle(&mut fleet);
    let desired = fleet.nodes[&name].desired.as_ref().unwrap();
    assert_eq!(desired.generation, Generation::new(41));
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("2"));
    assert!(find(&fleet.nodes[&name].status.conditions, "AheadOfCloud").is_none());
}

/// Node `a` was told `m@1` and reports generation 40 of a cloud nobody remembers, running `m@3`.
fn ahead_with_3() -> (Snapshot, NodeName) {
    let mut fleet = running(&["a"]);
    let name: NodeName = "a".parse().unwrap();
    let node = fleet.nodes.get_mut(&name).unwrap();
    node.report.applied = Some((Generation::new(40), Digest::of(b"unknown")));
    let slot = node.report.slots.get_mut(&model()).unwrap();
    slot.version = "3".parse().unwrap();
    slot.active = Some("3".parse().unwrap());
    settle(&mut fleet);
    (fleet, name)
}

#[test]
fn an_adopted_node_keeps_what_it_runs_until_its_deployment_says_something_new() {
    let (mut fleet, name) = ahead_with_3();
    fleet.nodes.get_mut(&name).unwrap().adopt = Some(Generation::new(40));
    settle(&mut fleet);
    let desired = fleet.nodes[&name].desired.as_ref().unwrap();
    assert_eq!(desired.generation, Generation::new(41));
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("3"));
    assert!(find(&fleet.nodes[&name].status.conditions, "AheadOfCloud").is_none());
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(
        wanted(&fleet, "a").as_deref(),
        Some("3"),
        "no rollback behind the operator's back"
    );
    deploy(&mut fleet, "d", "m@2", &[]);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("2"));
}

#[test]
fn what_is_adopted_without_a_deployment_stays_until_one_takes_the_node() {
    let (mut fleet, name) = ahead_with_3();
    fleet.deployments.clear();
    fleet.nodes.get_mut(&name).unwrap().adopt = Some(Generation::new(40));
    settle(&mut fleet);
    report(&mut fleet, "a", SlotState::Active);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("3"));
    deploy(&mut fleet, "new", "m@2", &[]);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("2"));
}

#[test]
fn a_restored_cloud_gives_no_number_to_a_node_it_has_not_heard() {
    let mut fleet = fleet(&["a"]);
    deploy(&mut fleet, "d", "m@1", &[]);
    settle(&mut fleet);
    let name: NodeName = "a".parse().unwrap();
    fleet.nodes.get_mut(&name).unwrap().memory = Memory::Restored;
    for version in ["m@2", "m@3", "m@2"] {
        deploy(&mut fleet, "d", version, &[]);
        settle(&mut fleet);
    }
    let node = fleet.nodes.get_mut(&name).unwrap();
    let told = node.desired.as_ref().unwrap().generation;
    assert_eq!(told, Generation::new(1));
    node.memory = Memory::Whole;
    node.report.applied = Some((Generation::new(2), Digest::of(b"unknown")));
    settle(&mut fleet);
    let node = &fleet.nodes[&name];
    assert!(matches!(Standing::of(node), Standing::Ahead { .. }));
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
}

#[test]
fn a_node_that_has_not_said_what_it_runs_is_adopted_once_it_does() {
    let (mut fleet, name) = ahead_with_3();
    let node = fleet.nodes.get_mut(&name).unwrap();
    let said = std::mem::take(&mut node.report.slots);
    node.adopt = Some(Generation::new(40));
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    fleet.nodes.get_mut(&name).unwrap().report.slots = said;
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("3"));
}

#[test]
fn a_version_nobody_pushed_cannot_be_adopted_and_the_node_says_which() {
    let (mut fleet, name) = ahead_with_3();
    let (id, package) = version("m@3");
    fleet.versions.remove(&id);
    fleet.nodes.get_mut(&name).unwrap().adopt = Some(Generation::new(40));
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    let told = find(&fleet.nodes[&name].status.conditions, "AheadOfCloud").unwrap();
    assert!(told.message.contains("m@3"), "{}", told.message);
    fleet.versions.insert(id, package);
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("3"));
}

#[test]
fn other_content_under_a_stored_generation_is_ahead_too_and_a_jump_is_bounded() {
    let mut fleet = fleet(&["a"]);
    settle(&mut fleet);
    let name: NodeName = "a".parse().unwrap();
    let node = fleet.nodes.get_mut(&name).unwrap();
    node.report.applied = Some((Generation::new(1), Digest::of(b"unknown")));
    assert!(matches!(Standing::of(node), Standing::Ahead { .. }));
    node.report.applied = Some((Generation::new(u64::MAX), Digest::of(b"unknown")));
    node.reassert = Some(Generation::new(u64::MAX));
    assert!(matches!(Standing::of(node), Standing::OutOfReach { .. }));
}

#[test]
fn a_restored_cloud_rolls_out_past_a_node_it_has_not_heard_and_names_it() {
    let mut fleet = running(&["a", "b"]);
    let unheard: NodeName = "a".parse().unwrap();
    fleet.nodes.get_mut(&unheard).unwrap().memory = Memory::Restored;
    let added = node("c");
    fleet.nodes.insert("c".parse().unwrap(), added);
    deploy(&mut fleet, "d", "m@2", &[]);
    settle(&mut fleet);
    for name in ["b", "c"] {
        report(&mut fleet, name, SlotState::Active);
    }
    settle(&mut fleet);
    assert_eq!(wanted(&fleet, "a").as_deref(), Some("1"));
    assert_eq!(wanted(&fleet, "b").as_deref(), Some("2"));
    assert_eq!(wanted(&fleet, "c").as_deref(), Some("2"));
    let waiting = rollout(&fleet, "d", 2);
    assert_eq!(waiting.phase, rollout::Phase::Progressing);
    let why = &waiting.nodes[&unheard].1;
    assert_eq!(why, "not heard since an older backup was restored");
    fleet.nodes.remove(&unheard);
    settle(&mut fleet);
    assert_eq!(rollout(&fleet, "d", 2).phase, rollout::Phase::Succeeded);
}
