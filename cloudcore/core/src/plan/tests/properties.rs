//! What holds for plans of any snapshot the store could hold.

use std::num::NonZeroU32;

use millwright_proto::ids::Version;
use proptest::prelude::*;

use super::*;
use crate::desired::Desired;
use crate::fleet::{Liveness, Phase, Report, SlotReport, SlotState};
use crate::rollout::budget::Budget;
use crate::simulation::world::{apply, node, version};

fn slot_state() -> impl Strategy<Value = SlotState> {
    prop::sample::select(vec![
        SlotState::Pending,
        SlotState::Staged,
        SlotState::Warmed,
        SlotState::Active,
        SlotState::Failed,
    ])
}

/// A snapshot no plan made: any combination of facts the store could hold.
fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let told = prop::option::of((1_u64..5, 1_u8..4));
    let reported = prop::option::of((1_u64..6, any::<bool>(), 1_u8..4, slot_state()));
    let node_facts = (
        any::<bool>(),
        any::<bool>(),
        told,
        reported,
        prop::option::of(1_u64..6),
    );
    let deployments = (
        prop::option::of((1_u64..4, 1_u8..5)),
        prop::option::of((1_u64..4, 1_u8..5)),
        prop::collection::vec(1_u8..60, 0..3),
        prop::option::of(1_u32..3),
    );
    let nodes = prop::collection::vec(node_facts, 0..6);
    (nodes, deployments).prop_map(|(nodes, (first, second, waves, budget))| {
        let mut snapshot = fleet(&[]);
        for (index, (enrolled, connected, told, reported, reassert)) in
            nodes.into_iter().enumerate()
        {
            let name = format!("n{index}");
            let mut node = node(&name);
            if !enrolled {
                node.phase = Phase::Revoked;
            }
            if !connected {
                node.liveness = Liveness::Silent { since_ms: Some(5) };
            }
            node.desired = told.map(|(generation, version)| desired(generation, version));
            if let Some((generation, same, version, state)) = reported {
                let digest = match (&node.desired, same) {
                    (Some(desired), true) => desired.digest,
                    _ => Digest::of(b"other"),
                };
                node.report = report_of(generation, digest, version, state);
            }
            node.reassert = reassert.map(Generation::new);
            snapshot.nodes.insert(name.parse().unwrap(), node);
        }
        for (name, given) in [("first", first), ("second", second)] {
            if let Some((generation, version)) = given {
                deploy(&mut snapshot, name, &format!("m@{version}"), &waves);
                let name: DeploymentName = name.parse().unwrap();
                let deployment = snapshot.deployments.get_mut(&name).unwrap();
                deployment.generation = generation;
                let budget = budget.and_then(NonZeroU32::new);
                deployment.strategy.budget = budget.map_or(Budget::WholeWave, Budget::AtMost);
            }
        }
        snapshot
    })
}

fn desired(generation: u64, version_number: u8) -> Desired {
    let (id, package) = version(&format!("m@{version_number}"));
    let slot = crate::desired::Slot {
        version: id.version,
        package,
        prove_for_ms: 0,
        gap: crate::desired::Gap::Refused,
        adopted: None,
    };
    let content = Content {
        slots: [(model(), slot)].into(),
        pipelines: BTreeMap::new(),
        summary_window_ms: 0,
    };
    Desired {
        generation: Generation::new(generation),
        digest: crate::simulation::world::digest(&content),
        since: Desired::since(None, &content, Generation::new(generation)),
        content,
    }
}

fn report_of(generation: u64, digest: Digest, version: u8, state: SlotState) -> Report {
    let version: Version = version.to_string().parse().unwrap();
    let slot = SlotReport {
        version: version.clone(),
        state,
        active: (state == SlotState::Active).then_some(version),
        reason: String::new(),
        message: String::new(),
    };
    Report {
        applied: Some((Generation::new(generation), digest)),
        extent: crate::fleet::Extent::Models,
        slots: [(model(), slot)].into(),
        pipelines: BTreeMap::new(),
        conditions: BTreeMap::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn planning_again_after_applying_a_plan_changes_nothing(snapshot in any_snapshot()) {
        let mut snapshot = snapshot;
        let first = plan(&snapshot, NOW);
        apply(&mut snapshot, &first);
        let again = plan(&snapshot, NOW + 500);
        prop_assert!(again.is_empty(), "first {first:#?}\nagain {again:#?}");
    }

    #[test]
    fn a_generation_is_above_what_was_stored_and_reported(snapshot in any_snapshot()) {
        for (name, new) in plan(&snapshot, NOW).desired {
            let node = &snapshot.nodes[&name];
            let stored = node.desired.as_ref().map(|desired| desired.generation);
            let reported = node.report.applied.map(|(generation, _)| generation);
            prop_assert!(Some(new.generation) > stored && Some(new.generation) > reported);
            prop_assert_eq!(node.phase, Phase::Enrolled);
        }
    }
}
