//! The histories people ask about, one by one.

use std::time::Duration;

use super::simulation::{PROVE_FOR, World, failure, model, package};
use crate::models::Life;
use crate::models::failure::{CRASH_REST, CRASHES_MAX};
use crate::models::{Fact, FailureClass, Rest};
use crate::reconcile::Step;
use crate::reconcile::report::{Progress, report};

pub(super) fn serving(world: &World) -> Option<u8> {
    let (package, _) = world.serving.as_ref()?;
    package.version.version.as_str().parse().ok()
}

pub(super) fn running(number: u8) -> World {
    let mut world = World::default();
    world.desire(Some(number));
    world.calm();
    assert_eq!(serving(&world), Some(number));
    world
}

/// Completes pending steps (all well) until `number` serves.
pub(super) fn until_serving(world: &mut World, number: u8) {
    for _ in 0..20 {
        if serving(world) == Some(number) {
            return;
        }
        world.complete(0, None);
    }
    panic!("{number} does not come up: {:#?}", world.observed);
}

#[test]
fn the_replaced_version_stays_warm_until_proven_and_keeps_its_files() {
    let mut world = running(1);
    world.desire(Some(2));
    until_serving(&mut world, 2);
    let slot = &world.observed.slots[&model()];
    assert!(matches!(
        slot.lives[&package(1)],
        Life::Retained {
            rest: Rest::Warm { .. }
        }
    ));
    world.advance(PROVE_FOR.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(world.pending, []);
    world.advance(Duration::from_millis(1));
    assert!(matches!(world.pending[..], [Step::Drain(..)]));
    world.calm();
    let slot = &world.observed.slots[&model()];
    assert_eq!(slot.lives[&package(1)], Life::Retained { rest: Rest::Cold });
    assert!(world.disk.contains(&package(1)));
}

#[test]
fn a_crash_before_it_is_proven_goes_back_to_the_warm_version_at_once() {
    let mut world = running(1);
    world.desire(Some(2));
    until_serving(&mut world, 2);
    let (crashed, worker) = world.serving.clone().unwrap();
    let index = usize::from(worker.get() == 2);
    world.crash(index);
    assert_eq!(crashed, package(2));
    assert_eq!(serving(&world), Some(1));
    world.calm();
    assert_eq!(
        serving(&world),
        Some(2),
        "and the new one gets another chance"
    );
}

#[test]
fn a_crash_noticed_after_the_deadline_still_goes_back_to_the_version_that_is_warm() {
    let mut world = running(1);
    world.desire(Some(2));
    until_serving(&mut world, 2);
    world.now += PROVE_FOR;
    world.crash(1);
    assert_eq!(serving(&world), Some(1));
}

#[test]
fn a_version_that_keeps_crashing_is_rolled_back_and_the_one_before_it_comes_back_cold() {
    let mut world = running(1);
    world.desire(Some(2));
    world.calm();
    for crash in 1..=CRASHES_MAX {
        until_serving(&mut world, 2);
        world.crash(0);
        if crash < CRASHES_MAX {
            world.advance(Duration::from_secs(30));
        }
    }
    world.calm();
    assert_eq!(serving(&world), Some(1));
    let reports = report(&world.desired, &world.observed);
    assert_eq!(reports[0].progress, Progress::Failed);
    assert_eq!(
        reports[0].failure.as_ref().unwrap().class,
        FailureClass::WorkerCrash
    );
    assert_eq!(reports[0].active.as_ref().unwrap().as_str(), "1");
}

#[test]
fn a_version_given_up_for_crashing_stays_given_up_after_a_restart_until_the_wish_changes() {
    let mut world = running(1);
    world.desire(Some(2));
    world.calm();
    for _ in 1..=CRASHES_MAX {
        until_serving(&mut world, 2);
        world.crash(0);
        world.advance(Duration::from_secs(30));
    }
    world.calm();
    world.restart();
    world.calm();
    assert_eq!(serving(&world), Some(1));
    let reports = report(&world.desired, &world.observed);
    assert_eq!(reports[0].progress, Progress::Failed);
    world.desire(Some(2));
    world.calm();
    assert_eq!(serving(&world), Some(2));
}

#[test]
fn the_only_version_of_a_model_is_tried_again_after_a_rest_however_often_it_crashed() {
    let mut world = running(1);
    for _ in 1..=CRASHES_MAX {
        until_serving(&mut world, 1);
        world.crash(0);
        world.advance(Duration::from_secs(30));
    }
    assert_eq!((serving(&world), world.pending.len()), (None, 0));
    world.advance(CRASH_REST);
    until_serving(&mut world, 1);
    world.crash(0);
    world.advance(Duration::from_secs(30));
    assert_eq!(world.pending, [], "one more crash ends the attempt");
}

#[test]
fn a_held_node_keeps_its_version_through_wishes_crashes_and_restarts() {
    let mut world = running(1);
    world.desire(Some(2));
    world.hold();
    world.calm();
    assert_eq!(serving(&world), Some(1), "also in the middle of a swap");
    world.desire(Some(3));
    world.desire(None);
    world.crash(0);
    world.calm();
    world.restart();
    world.calm();
    assert_eq!(serving(&world), Some(1));
    world.desire(Some(3));
    world.release();
    world.calm();
    assert_eq!(serving(&world), Some(3));
}

#[test]
fn a_held_node_whose_version_keeps_crashing_falls_back() {
    let mut world = running(1);
    world.desire(Some(2));
    world.calm();
    world.hold();
    for _ in 1..=CRASHES_MAX {
        until_serving(&mut world, 2);
        world.crash(0);
        world.advance(Duration::from_secs(30));
    }
    world.calm();
    assert_eq!(serving(&world), Some(1));
}

#[test]
fn a_bad_signature_is_final_for_its_generation_only() {
    let mut world = running(1);
    world.desire(Some(2));
    world.complete(0, None);
    world.complete(0, Some(FailureClass::SignatureInvalid));
    world.calm();
    assert_eq!(serving(&world), Some(1));
    assert_eq!(
        report(&world.desired, &world.observed)[0].progress,
        Progress::Failed
    );
    world.desire(Some(2));
    world.calm();
    assert_eq!(serving(&world), Some(2));
}

#[test]
fn without_an_uplink_a_restarted_node_serves_what_it_served_before() {
    let mut world = running(1);
    world.desire(Some(2));
    world.restart();
    assert!(world.pending.contains(&Step::Fetch(package(2))));
    for _ in 0..3 {
        let local = world
            .pending
            .iter()
            .position(|step| *step != Step::Fetch(package(2)));
        world.complete(local.unwrap(), None);
    }
    assert_eq!(serving(&world), Some(1));
}

#[test]
fn a_failed_download_waits_longer_each_time_but_not_past_the_return_of_the_uplink() {
    let mut world = World::default();
    world.desire(Some(1));
    for _ in 0..4 {
        world.complete(0, Some(FailureClass::Fetch));
        world.advance(Duration::from_secs(10));
    }
    world.complete(0, Some(FailureClass::Fetch));
    world.advance(Duration::from_secs(10));
    assert_eq!(world.pending, [], "the fifth wait is 16 s");
    world.observed.hurry_downloads(world.now);
    world.settle();
    assert_eq!(world.pending, [Step::Fetch(package(1))]);
}

#[test]
fn a_late_answer_of_a_replaced_worker_changes_nothing() {
    let mut world = running(1);
    let before = world.observed.clone();
    let stale = crate::models::WorkerId::new(99);
    world.fact(Fact::GoldenFailed(
        package(1),
        stale,
        failure(FailureClass::Golden),
    ));
    world.fact(Fact::WorkerGone(
        package(1),
        stale,
        failure(FailureClass::WorkerCrash),
    ));
    world.fact(Fact::Drained(package(1), stale));
    world.fact(Fact::FetchFailed(package(1), failure(FailureClass::Fetch)));
    assert_eq!(world.observed, before);
}

#[test]
fn a_model_no_longer_desired_is_withdrawn_ended_and_deleted() {
    let mut world = running(1);
    world.desire(None);
    world.calm();
    assert_eq!(serving(&world), None);
    assert!(world.disk.is_empty());
    assert!(world.observed.slots.is_empty());
}
