use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;

/// Day 20,000 of the Unix era, where these nodes were enrolled.
const FLOOR: u64 = 20_000 * DAY;

#[test]
fn a_dead_clock_is_replaced_by_the_floor_and_a_sound_one_is_believed() {
    let known = KnownTime::new(FLOOR);
    assert_eq!(known.now(5, 5), FLOOR);
    assert_eq!(known.now(FLOOR + 90 * DAY, 5), FLOOR + 90 * DAY);
}

#[test]
fn a_clock_years_ahead_is_not_believed_and_stops_nothing() {
    let known = KnownTime::new(FLOOR);
    assert_eq!(known.now(FLOOR + AHEAD_S_MAX, 5), FLOOR + AHEAD_S_MAX);
    assert_eq!(known.now(FLOOR + AHEAD_S_MAX + 1, 5), FLOOR);
    assert_eq!(known.now(u64::MAX, 5), FLOOR);
    // It may be right: the device may have lain in a store for a year.
    assert_eq!(known.doubtful(FLOOR + AHEAD_S_MAX), None);
    assert_eq!(known.doubtful(FLOOR + 365 * DAY), Some(FLOOR + 365 * DAY));
    let mut told = known;
    told.told(FLOOR, 5);
    assert_eq!(told.doubtful(FLOOR + 365 * DAY), None);
}

#[test]
fn once_told_the_time_goes_on_whatever_the_wall_clock_does() {
    let mut known = KnownTime::new(FLOOR);
    known.told(FLOOR + DAY, 1_000);
    for wall in [0, FLOOR, FLOOR + 10_000 * DAY, u64::MAX] {
        assert_eq!(known.now(wall, 1_060), FLOOR + DAY + 60);
    }
    // Cloudcore itself was wrong and is set back: the floor holds.
    known.told(FLOOR, 2_000);
    assert_eq!(known.now(0, 2_001), FLOOR + DAY);
    assert_eq!(known.floor_s(), FLOOR + DAY);
}

#[test]
fn the_floor_is_written_at_most_once_an_hour() {
    let mut known = KnownTime::new(FLOOR);
    let mut writes = 0;
    for minute in 0..24 * 60 {
        known.told(FLOOR + minute * 60, minute * 60);
        if let Some(floor) = known.to_persist() {
            known.persisted(floor);
            writes += 1;
        }
    }
    assert_eq!(writes, 23);
}

proptest! {
    #[test]
    fn time_is_never_before_the_floor_and_the_floor_never_falls(
        steps in prop::collection::vec((any::<bool>(), 0..2 * FLOOR, 0..1_000_000_u64, any::<u64>()), 1..30),
    ) {
        let mut known = KnownTime::new(FLOOR);
        for (told, unix, boot, wall) in steps {
            let before = known.floor_s();
            if told { known.told(unix, boot) } else { known.passed(unix) }
            prop_assert!(known.floor_s() >= before.max(unix));
            prop_assert!(known.now(wall, boot) >= known.floor_s());
        }
    }
}
