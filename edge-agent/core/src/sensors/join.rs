//! Parts of rows that came apart become rows again, by their times.
//!
//! The first part of a row sets its time; parts whose times are within the tolerance and whose values are still
//! missing belong to it. A row is settled when it is complete, when its missing values cannot come any more (every
//! field that is missing has been seen at a later time already), or when it has waited long enough. Rows are given
//! out in the order of their times, so a complete row waits for an older one that is not settled.

use std::collections::BTreeMap;

/// Most rows that wait for values: a thousand rows a second for a second. Beyond, the oldest is settled as it is.
pub const ROWS_WAITING_MAX: usize = 1024;

/// How rows are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Values of a row.
    pub fields: usize,
    /// Times further apart than this, in microseconds, are two rows.
    pub tolerance_us: i64,
    /// Longest wait for missing values, from the arrival of the first, in microseconds.
    pub wait_us: i64,
    /// A missing value is the last one known if that is no older than this, in microseconds; 0: never.
    pub hold_us: i64,
}

/// Some values of a row, and what the caller needs to know again once they are used (`T`).
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    /// When they were measured, in microseconds of any clock that all parts share.
    pub time_us: i64,
    /// Position in the row and value.
    pub values: Vec<(usize, f64)>,
    /// The caller's own.
    pub mark: T,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined<T> {
    /// Time of its first part.
    pub time_us: i64,
    /// Every value, in its position.
    pub values: Vec<f64>,
    /// How many of them are older ones that stand in.
    pub held: usize,
    /// The marks of its parts, in the order in which they came.
    pub marks: Vec<T>,
}

/// Parts that became no row, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Dropped<T> {
    /// Values were missing to the end.
    Incomplete(Vec<T>),
    /// It came after a later row had been given out.
    Late(T),
}

/// What came of a part or of time passing.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// A row.
    Row(Joined<T>),
    /// No row.
    Dropped(Dropped<T>),
}

#[derive(Clone, Debug)]
struct Waiting<T> {
    values: Vec<Option<f64>>,
    missing: usize,
    arrived_us: i64,
    marks: Vec<T>,
}

/// Joins parts to rows.
#[derive(Clone, Debug)]
pub struct Joiner<T> {
    joining: Joining,
    /// By time; two rows never share one.
    waiting: BTreeMap<i64, Waiting<T>>,
    /// What every field was when: as far back as the oldest row that waits may need it.
    known: Vec<BTreeMap<i64, f64>>,
    /// Time of the last row that was given out or dropped.
    settled_us: Option<i64>,
}

impl<T> Joiner<T> {
    /// Nothing waits.
    #[must_use]
    pub fn new(joining: Joining) -> Self {
        Self {
            joining,
            waiting: BTreeMap::new(),
            known: vec![BTreeMap::new(); joining.fields],
            settled_us: None,
        }
    }

    /// Rows that wait for values.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When [`Self::tick`] has something to do at the latest, by the clock of `arrived_us`.
    #[must_use]
    pub fn due_us(&self) -> Option<i64> {
        let arrived = self.waiting.values().map(|row| row.arrived_us).min()?;
        Some(arrived.saturating_add(self.joining.wait_us))
    }

    /// Takes a part that arrived at `now_us`; values at positions that rows do not have are ignored.
    pub fn push(&mut self, part: Part<T>, now_us: i64) -> Vec<Outcome<T>> {
        let Part {
            time_us,
            mut values,
            mark,
        } = part;
        values.retain(|(at, _)| *at < self.joining.fields);
        if self.settled_us.is_some_and(|settled| time_us <= settled)
            && self.row_for(time_us, &values).is_none()
        {
            return vec![Outcome::Dropped(Dropped::Late(mark))];
        }
        let at = self.row_for(time_us, &values).unwrap_or(time_us);
        let fields = self.joining.fields;
        let row = self.waiting.entry(at).or_insert_with(|| Waiting {
            values: vec![None; fields],
            missing: fields,
            arrived_us: now_us,
            marks: Vec::new(),
        });
        row.marks.push(mark);
        for (position, value) in values {
            if row.values[position].replace(value).is_none() {
                row.missing -= 1;
            }
            self.known[position].insert(time_us, value);
        }
        let outcomes = self.settle(now_us);
        self.forget();
        outcomes
    }

    /// Settles what has waited long enough at `now_us`.
    pub fn tick(&mut self, now_us: i64) -> Vec<Outcome<T>> {
        self.settle(now_us)
    }

    /// The nearest row within the tolerance that lacks all of `values`.
    fn row_for(&self, time_us: i64, values: &[(usize, f64)]) -> Option<i64> {
        let tolerance = self.joining.tolerance_us;
        let near = time_us.saturating_sub(tolerance)..=time_us.saturating_add(tolerance);
        self.waiting
            .range(near)
            .filter(|(_, row)| values.iter().all(|(at, _)| row.values[*at].is_none()))
            .min_by_key(|(at, _)| at.abs_diff(time_us))
            .map(|(at, _)| *at)
    }

    fn settle(&mut self, now_us: i64) -> Vec<Outcome<T>> {
        let mut outcomes = Vec::new();
        while let Some((&time_us, row)) = self.waiting.first_key_value() {
            let crowded = self.waiting.len() > ROWS_WAITING_MAX;
            let waited = now_us.saturating_sub(row.arrived_us) >= self.joining.wait_us;
            if row.missing > 0 && !crowded && !waited && !self.is_hopeless(time_us, row) {
                break;
            }
            let Some(row) = self.waiting.remove(&time_us) else {
                break;
            };
            self.settled_us = Some(time_us);
            outcomes.push(self.give_out(time_us, row));
        }
        outcomes
    }

    /// Whether every missing field has been seen later than this row reaches: a sensor does not go back in time.
    fn is_hopeless(&self, time_us: i64, row: &Waiting<T>) -> bool {
        let end = time_us.saturating_add(self.joining.tolerance_us);
        let fields = row.values.iter().zip(&self.known);
        let mut missing = fields.filter(|(value, _)| value.is_none());
        missing.all(|(_, known)| known.last_key_value().is_some_and(|(seen, _)| *seen > end))
    }

    /// Drops what no row that waits or comes can need: all but the newest value before the oldest row.
    fn forget(&mut self) {
        let oldest = self.waiting.first_key_value().map(|(at, _)| *at);
        for known in &mut self.known {
            let needed = match oldest {
                Some(oldest) => known.range(..=oldest).next_back().map(|(at, _)| *at),
                None => known.last_key_value().map(|(at, _)| *at),
            };
            while let Some(first) = known.first_entry()
                && (needed.is_some_and(|needed| *first.key() < needed))
            {
                first.remove();
            }
            // Rows that wait are bounded, parts of the future are not.
            while known.len() > 2 * ROWS_WAITING_MAX {
                known.pop_first();
            }
        }
    }

    fn give_out(&self, time_us: i64, row: Waiting<T>) -> Outcome<T> {
        let mut held = 0;
        let mut values = Vec::with_capacity(row.values.len());
        for (value, known) in row.values.iter().zip(&self.known) {
            let stand_in = || {
                let (seen, value) = known.range(..=time_us).next_back()?;
                let age = time_us.saturating_sub(*seen);
                (self.joining.hold_us > 0 && age <= self.joining.hold_us).then_some(*value)
            };
            match (value, stand_in()) {
                (Some(value), _) => values.push(*value),
                (None, Some(older)) => {
                    held += 1;
                    values.push(older);
                }
                (None, None) => return Outcome::Dropped(Dropped::Incomplete(row.marks)),
            }
        }
        Outcome::Row(Joined {
            time_us,
            values,
            held,
            marks: row.marks,
        })
    }
}
