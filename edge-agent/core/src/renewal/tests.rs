use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;
const MINUTE_MS: u64 = 60_000;

/// A certificate of 30 days that began on day 100.
fn schedule(random: u64) -> Schedule {
    Schedule::new(100 * DAY, 130 * DAY, random)
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_give_or_take() {
    let at = |random| next(0, 0, 24 * DAY, random);
    assert_eq!(at(0), 15 * DAY);
    assert_eq!(at(u64::MAX), 17 * DAY);
    assert_eq!(at(u64::MAX / 2), 16 * DAY);
    assert_eq!(next(20 * DAY, 0, 24 * DAY, 0), 20 * DAY);
}

#[test]
fn a_certificate_that_ran_out_long_ago_is_renewed_at_once() {
    for months in [1, 3, 12, 36] {
        let now = (130 + months * 30) * DAY;
        assert_eq!(schedule(7).wait_ms(now, 0, Some(0), None), 0);
    }
    assert!(schedule(7).wait_ms(101 * DAY, 0, Some(0), None) > 0);
}

#[test]
fn learning_the_time_makes_it_due_without_a_restart() {
    let schedule = schedule(7);
    assert!(schedule.wait_ms(100 * DAY, 5, None, None) > 0);
    assert_eq!(schedule.wait_ms(200 * DAY, 6, None, None), 0);
}

#[test]
fn a_long_time_without_a_session_leads_to_one_renewal_and_not_to_a_second() {
    let mut schedule = schedule(7);
    let now = 101 * DAY;
    let wait = |schedule: &Schedule, since_ms| schedule.wait_ms(now, since_ms, Some(0), None);
    assert!(wait(&schedule, SUSPECT_MS - 1) > 0);
    assert_eq!(wait(&schedule, SUSPECT_MS), 0);
    schedule.failed(Failure::Unreachable, now, SUSPECT_MS, 1);
    assert!(wait(&schedule, SUSPECT_MS) > 0);
    assert_eq!(wait(&schedule, 24 * 60 * MINUTE_MS), 0);
    let mut renewed = schedule.renewed(101 * DAY, 131 * DAY, SUSPECT_MS, 7);
    assert!(wait(&renewed, 24 * 60 * MINUTE_MS) > 0);
    // A session clears the certificate of it; the next lack of one is a new reason.
    renewed.connected();
    assert_eq!(wait(&renewed, 24 * 60 * MINUTE_MS), 0);
}

#[test]
fn a_clock_that_is_not_believed_shortens_the_patience_with_a_missing_session() {
    let schedule = schedule(7);
    let wait = |wall_s, since_ms| schedule.wait_ms(100 * DAY, since_ms, Some(0), Some(wall_s));
    assert!(wait(1000 * DAY, DOUBT_MS - 1) > 0);
    assert_eq!(wait(1000 * DAY, DOUBT_MS), 0);
    assert!(wait(129 * DAY, DOUBT_MS) > 0);
    // A session says that the clock is wrong.
    let connected = schedule.wait_ms(100 * DAY, DOUBT_MS, None, Some(1000 * DAY));
    assert!(connected > 0);
}

#[test]
fn a_refusal_is_heard_for_an_hour_even_when_the_certificate_is_over() {
    let mut schedule = schedule(7);
    let now = 200 * DAY;
    schedule.failed(Failure::Refused, now, 10, 0);
    assert!(schedule.wait_ms(now, 10 + REFUSED_MS - 1, None, None) > 0);
    assert_eq!(schedule.wait_ms(now, 10 + REFUSED_MS, None, None), 0);
}

proptest! {
    #[test]
    fn the_time_of_renewal_is_inside_the_life_unless_it_has_passed(
        now: u32, begin: u32, life in 8_u64..400 * DAY, random: u64,
    ) {
        let (now, begin) = (u64::from(now), u64::from(begin));
        let at = next(now, begin, begin + life, random);
        prop_assert!(at >= now);
        prop_assert!(at == now || (begin + life / 2 < at && at < begin + life));
    }

    #[test]
    fn failures_in_a_row_never_come_closer_than_the_shortest_pause_nor_further_than_the_longest(
        randoms in prop::collection::vec(any::<u64>(), 1..40),
        life in 8_u64..400 * DAY,
        over: bool,
    ) {
        let mut schedule = Schedule::new(0, life, 0);
        let now = if over { 500 * DAY } else { life - 1 };
        let longest = if over { PAUSE_OVER_MS_MAX } else { PAUSE_MS_MAX };
        let mut since = 0;
        for random in randoms {
            prop_assert_eq!(schedule.wait_ms(now, since, None, None), 0);
            schedule.failed(Failure::Unreachable, now, since, random);
            let before = since;
            while schedule.wait_ms(now, since, None, None) > 0 {
                since += schedule.wait_ms(now, since, None, None);
            }
            prop_assert!((PAUSE_MS_MIN..=longest).contains(&(since - before)));
        }
    }
}
