//! Histories of nodes that are short of memory, and of workers that grow.

use super::simulation::{PROVE_FOR, World, failure, model, package};
use super::swaps::{running, serving, until_serving};
use crate::desired::Gap;
use crate::models::failure::CRASHES_MAX;
use crate::models::{Fact, FailureClass, Room};
use crate::reconcile::report::{Progress, report};
use crate::reconcile::{Step, next_wakeup};

/// Completes pending steps until the new worker is to be started, which fails for lack of memory.
fn lack_memory(world: &mut World) {
    for _ in 0..20 {
        let start = |step: &Step| matches!(step, Step::StartWorker(_));
        if let Some(index) = world.pending.iter().position(start) {
            world.complete(index, Some(FailureClass::Memory));
            return;
        }
        world.complete(0, None);
    }
    panic!("no start: {:#?}", world.observed);
}

#[test]
fn a_swap_that_does_not_fit_waits_says_so_and_begins_when_memory_is_freed() {
    let mut world = running(1);
    world.desire(Some(2));
    lack_memory(&mut world);
    assert_eq!((serving(&world), world.pending.len()), (Some(1), 0));
    let slot = &report(&world.desired, &world.observed)[0];
    assert_eq!(slot.progress, Progress::Verified);
    let reason = slot.failure.as_ref().map(|failure| failure.class.reason());
    assert_eq!(reason, Some("Memory"));

    // Some other model's worker is gone.
    let (other, worker) = (package(9), world.serving.clone().unwrap().1);
    world.fact(Fact::WorkerGone(
        other,
        worker,
        failure(FailureClass::WorkerCrash),
    ));
    assert_eq!(world.pending, [Step::StartWorker(package(2))]);
    until_serving(&mut world, 2);
}

#[test]
fn a_deployment_that_allows_a_gap_ends_the_old_version_first() {
    let mut world = running(1);
    world.gap = Gap::Allowed;
    world.desire(Some(2));
    lack_memory(&mut world);
    assert_eq!(serving(&world), None);
    assert!(
        matches!(world.pending[..], [Step::Drain(..)]),
        "{:?}",
        world.pending
    );
    world.complete(0, None);
    assert!(
        matches!(world.pending[..], [Step::EndWorker(..)]),
        "{:?}",
        world.pending
    );
    world.complete(0, None);
    assert_eq!(world.pending, [Step::StartWorker(package(2))]);
    until_serving(&mut world, 2);
    assert_eq!(world.observed.slots[&model()].room, Room::NotMade);
}

#[test]
fn a_gap_that_does_not_help_brings_the_old_version_back_once_and_for_all() {
    let mut world = running(1);
    world.gap = Gap::Allowed;
    world.desire(Some(2));
    lack_memory(&mut world);
    world.complete(0, None);
    world.complete(0, None);
    lack_memory(&mut world);
    assert_eq!(world.pending, [Step::StartWorker(package(1))]);
    until_serving(&mut world, 1);
    world.advance(std::time::Duration::from_secs(60));
    lack_memory(&mut world);
    assert_eq!(serving(&world), Some(1), "there is no second gap");
}

#[test]
fn a_worker_that_has_grown_is_replaced_by_another_without_a_gap() {
    let mut world = running(1);
    let (_, large) = world.serving.clone().unwrap();
    world.wear();
    assert_eq!(world.pending, [Step::StartWorker(package(1))]);
    world.wear();
    assert_eq!(world.pending.len(), 1, "once is enough");
    world.complete(0, None);
    assert!(
        matches!(world.pending[..], [Step::RunGolden(..)]),
        "{:?}",
        world.pending
    );
    world.complete(0, None);
    let (_, fresh) = world.serving.clone().unwrap();
    assert_ne!(fresh, large);
    assert_eq!(world.pending, [Step::EndWorker(package(1), large)]);
}

#[test]
fn a_worker_that_has_grown_ends_first_where_there_is_no_room_for_two() {
    let mut world = running(1);
    world.wear();
    world.complete(0, Some(FailureClass::Memory));
    assert_eq!(serving(&world), None);
    world.calm();
    assert_eq!(serving(&world), Some(1));
}

#[test]
fn a_version_that_grows_again_and_again_gives_way_to_the_one_before() {
    let mut world = running(1);
    world.desire(Some(2));
    until_serving(&mut world, 2);
    for _ in 1..CRASHES_MAX {
        world.wear();
        while !world.pending.is_empty() {
            world.complete(0, None);
        }
        assert_eq!(serving(&world), Some(2));
    }
    world.wear();
    assert_eq!(serving(&world), Some(1), "it was warm still");
    assert_eq!(
        report(&world.desired, &world.observed)[0].progress,
        Progress::Failed
    );
}

#[test]
fn one_start_at_a_time_though_the_version_that_has_grown_is_replaced_meanwhile() {
    let mut world = running(1);
    world.desire(Some(2));
    while world.pending != [Step::StartWorker(package(2))] {
        world.complete(0, None);
    }
    world.wear();
    // The new version takes over while the relief of the old one is still being started.
    world.complete(0, None);
    world.complete(1, None);
    assert_eq!(serving(&world), Some(2));
    let abandoned = [Step::StartWorker(package(1))];
    assert_eq!(world.pending, abandoned);
    world.advance(PROVE_FOR);
    while world.pending.len() > 1 {
        world.complete(1, None);
    }
    // Back to the old version, whose first start has not been answered yet.
    world.desire(Some(1));
    assert_eq!(world.pending, abandoned);
    world.complete(0, None);
    assert!(
        world.pending.contains(&abandoned[0]),
        "the one that is used"
    );
    world.calm();
    assert_eq!(serving(&world), Some(1));
}

#[test]
fn a_withdrawn_model_gets_no_relief() {
    let mut world = running(1);
    world.wear();
    world.complete(0, Some(FailureClass::Fetch));
    let again = next_wakeup(&world.observed, world.now).unwrap();
    world.now = again;
    world.desire(None);
    assert!(
        matches!(world.pending[..], [Step::Drain(..)]),
        "{:?}",
        world.pending
    );
    world.calm();
    assert_eq!(world.disk.len(), 0);
}
