use proptest::prelude::*;

use super::join::ROWS_WAITING_MAX;
use super::*;

const JOINING: Joining = Joining {
    fields: 3,
    tolerance_us: 10,
    wait_us: 100,
    hold_us: 0,
};

fn part(time_us: i64, values: &[(usize, f64)], mark: usize) -> Part<usize> {
    Part {
        time_us,
        values: values.to_vec(),
        mark,
    }
}

fn rows(outcomes: Vec<Outcome<usize>>) -> Vec<Joined<usize>> {
    let row = |outcome| match outcome {
        Outcome::Row(row) => Some(row),
        Outcome::Dropped(_) => None,
    };
    outcomes.into_iter().filter_map(row).collect()
}

#[test]
fn parts_within_the_tolerance_are_one_row_as_soon_as_it_is_complete() {
    let mut joiner = Joiner::new(JOINING);
    assert_eq!(joiner.push(part(1000, &[(0, 1.0)], 1), 0), []);
    assert_eq!(joiner.push(part(1010, &[(2, 3.0)], 2), 0), []);
    let [row] = &rows(joiner.push(part(995, &[(1, 2.0)], 3), 0))[..] else {
        panic!("no row");
    };
    assert_eq!((row.time_us, row.held), (1000, 0));
    assert_eq!(row.values, [1.0, 2.0, 3.0]);
    assert_eq!(row.marks, [1, 2, 3]);
}

#[test]
fn a_missing_value_is_waited_for_and_then_held_or_the_row_is_dropped() {
    for (hold_us, expected) in [(0, None), (40, None), (60, Some(vec![1.5, 2.5, 3.0]))] {
        let mut joiner = Joiner::new(Joining { hold_us, ..JOINING });
        let first = joiner.push(part(1000, &[(0, 1.0), (1, 2.0), (2, 3.0)], 0), 0);
        assert_eq!(rows(first).len(), 1);
        assert_eq!(joiner.push(part(1050, &[(0, 1.5), (1, 2.5)], 1), 50), []);
        assert_eq!(joiner.due_us(), Some(150));
        assert_eq!(joiner.tick(149), []);
        let outcomes = joiner.tick(150);
        match expected {
            Some(values) => {
                let [row] = &rows(outcomes)[..] else {
                    panic!("no row")
                };
                assert_eq!((row.values.clone(), row.held), (values, 1));
            }
            None => assert_eq!(outcomes, [Outcome::Dropped(Dropped::Incomplete(vec![1]))]),
        }
    }
}

#[test]
fn a_value_that_came_later_does_not_stand_in_for_an_earlier_row() {
    let mut joiner = Joiner::new(Joining {
        hold_us: 1000,
        ..JOINING
    });
    joiner.push(part(1000, &[(0, 1.0), (1, 2.0), (2, 30.0)], 0), 0);
    joiner.push(part(1050, &[(0, 1.5), (1, 2.5)], 1), 0);
    // The slow sensor speaks again: the row before will not get a value of its own any more.
    let outcomes = rows(joiner.push(part(1500, &[(2, 31.0)], 2), 1));
    assert_eq!(outcomes[0].values, [1.5, 2.5, 30.0]);
}

#[test]
fn a_row_that_cannot_be_completed_any_more_does_not_hold_up_the_next() {
    let mut joiner = Joiner::new(JOINING);
    joiner.push(part(1000, &[(0, 1.0), (1, 1.0)], 0), 0);
    joiner.push(part(2000, &[(0, 2.0), (1, 2.0)], 1), 1);
    let outcomes = joiner.push(part(2000, &[(2, 2.0)], 2), 2);
    assert_eq!(outcomes[0], Outcome::Dropped(Dropped::Incomplete(vec![0])));
    assert_eq!(rows(outcomes)[0].time_us, 2000);
    let late = joiner.push(part(1000, &[(2, 1.0)], 3), 3);
    assert_eq!(late, [Outcome::Dropped(Dropped::Late(3))]);
}

#[test]
fn a_window_step_longer_than_its_size_leaves_rows_out() {
    let mut windows = Windows::new(2, 3);
    let seen: Vec<_> = (0..8)
        .filter_map(|row| windows.push(vec![f64::from(row)]))
        .collect();
    assert_eq!(seen, [[0.0, 1.0], [3.0, 4.0], [6.0, 7.0]]);
    assert_eq!(by_field(&[1.0, 10.0, 2.0, 20.0], 2), [1.0, 2.0, 10.0, 20.0]);
}

#[test]
fn a_field_that_never_changed_is_centred_only() {
    let mut row = [5.0, 5.0, 7.0];
    Scaling::standard(&[1.0, 5.0], &[2.0, 0.0]).apply(&mut row);
    assert_eq!(row, [2.0, 0.0, 7.0]);
    let mut row = [15.0, -5.0];
    Scaling::range(&[10.0, -5.0], &[20.0, 5.0]).apply(&mut row);
    assert_eq!(row, [0.5, 0.0]);
}

#[test]
fn a_window_is_scaled_the_same_in_either_order() {
    let scaling = Scaling::standard(&[1.0, 10.0], &[2.0, 5.0]);
    let mut rows = [1.0, 10.0, 3.0, 20.0, 5.0, 15.0];
    let mut turned = by_field(&rows, 2);
    rows.chunks_mut(2).for_each(|row| scaling.apply(row));
    scaling.apply_by_field(&mut turned, 2);
    assert_eq!(by_field(&rows, 2), turned);
}

/// When it was measured, which fields it holds, and how much later it arrived.
type AnyPart = (i64, Vec<(usize, f64)>, i64);

/// Any parts at any times and arrivals.
fn any_parts() -> impl Strategy<Value = Vec<AnyPart>> {
    let values = prop::collection::vec((0..4_usize, -1e3..1e3), 0..4);
    prop::collection::vec((0..400_i64, values, 0..60_i64), 0..120)
}

proptest! {
    #[test]
    fn every_part_comes_out_once_and_rows_come_in_order(parts in any_parts(), hold_us in 0..50_i64) {
        let mut joiner = Joiner::new(Joining { hold_us, ..JOINING });
        let mut outcomes = Vec::new();
        let mut now = 0;
        let count = parts.len();
        for (mark, (time_us, values, later)) in parts.into_iter().enumerate() {
            now += later;
            outcomes.extend(joiner.push(Part { time_us, values, mark }, now));
            prop_assert!(joiner.waiting() <= ROWS_WAITING_MAX);
            prop_assert!(joiner.due_us().is_none_or(|due| due > now || joiner.waiting() > 0));
        }
        outcomes.extend(joiner.tick(i64::MAX));
        let mut marks = Vec::new();
        let mut times = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Row(row) => {
                    prop_assert_eq!(row.values.len(), 3);
                    prop_assert!(hold_us > 0 || row.held == 0);
                    times.push(row.time_us);
                    marks.extend(row.marks);
                }
                Outcome::Dropped(Dropped::Incomplete(dropped)) => marks.extend(dropped),
                Outcome::Dropped(Dropped::Late(mark)) => marks.push(mark),
            }
        }
        prop_assert!(times.is_sorted_by(|a, b| a < b), "{:?}", times);
        marks.sort_unstable();
        prop_assert_eq!(marks, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn rows_that_were_taken_apart_are_put_together_again(
        values in prop::collection::vec(prop::array::uniform3(-1e6..1e6), 1..40),
        jitter in prop::collection::vec(prop::array::uniform3(0..=10_i64), 40),
        lag in prop::array::uniform3(0..5_usize),
    ) {
        // Each field comes on a topic of its own, in order, some rows behind the others.
        let mut joiner = Joiner::new(Joining { wait_us: i64::MAX, ..JOINING });
        let mut joined = Vec::new();
        for step in 0..values.len() + 5 {
            for (field, lag) in lag.iter().enumerate() {
                if let Some(row) = step.checked_sub(*lag)
                    && let Some(fields) = values.get(row)
                {
                    let time_us = row as i64 * 1000 + jitter[row][field];
                    joined.extend(rows(joiner.push(part(time_us, &[(field, fields[field])], row), step as i64)));
                }
            }
        }
        let joined: Vec<_> = joined.into_iter().map(|row| row.values).collect();
        let expected: Vec<_> = values.iter().map(|row| row.to_vec()).collect();
        prop_assert_eq!(joined, expected);
    }

    #[test]
    fn windows_are_the_rows_they_cover(size in 1..9_usize, step in 1..12_usize, count in 0..60_usize) {
        let mut windows = Windows::new(size, step);
        let seen: Vec<Vec<f64>> = (0..count).filter_map(|row| windows.push(vec![row as f64, 0.5])).collect();
        let expected: Vec<Vec<f64>> = (0..count)
            .step_by(step)
            .filter(|first| first + size <= count)
            .map(|first| (first..first + size).flat_map(|row| [row as f64, 0.5]).collect())
            .collect();
        prop_assert_eq!(seen, expected);
    }
}
