//! What the cloud has counted: runs of sequence numbers with the records behind them.

use std::collections::BTreeMap;

use edge_core::outbox::{GapReason, Stream};

use super::StreamKey;
use crate::event::{Body, Device, Outgoing, Payload};

/// Consecutive numbers of one kind.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    body: Body,
}

/// What stands at a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// A record.
    Counted,
    /// A declared loss.
    Gap(GapReason),
    /// Nothing yet.
    Nothing,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    runs: BTreeMap<StreamKey, Vec<Run>>,
    /// Counted records per device and stream, as disjoint ranges.
    records: BTreeMap<(Device, Stream), BTreeMap<u64, u64>>,
}

impl Counted {
    /// Counts a report from `first` on.
    ///
    /// # Errors
    /// When a record in it was counted before, says which.
    pub(crate) fn count(
        &mut self,
        key: StreamKey,
        first: u64,
        report: &Outgoing,
    ) -> Result<(), u64> {
        let mut twice = None;
        if let Body::Record(payload) = report.body {
            let ranges = self.records.entry((payload.device, key.2)).or_default();
            twice = cover(ranges, payload);
        }
        let runs = self.runs.entry(key).or_default();
        let new = Run {
            first,
            last: report.last,
            body: report.body,
        };
        match runs.last_mut() {
            Some(run) if joins(run, &new) => run.extend(&new),
            _ => runs.push(new),
        }
        twice.map_or(Ok(()), Err)
    }

    /// Forgets everything above the watermarks of a restored store.
    pub(crate) fn forget_after(&mut self, watermarks: &BTreeMap<StreamKey, u64>) {
        for (key, runs) in &mut self.runs {
            let through = watermarks.get(key).copied().unwrap_or(0);
            runs.retain(|run| run.first <= through);
            if let Some(run) = runs.last_mut()
                && run.last > through
            {
                run.cut(through);
            }
        }
        self.records.clear();
        for ((_, _, stream), runs) in &self.runs {
            for run in runs {
                if let Body::Record(payload) = run.body {
                    let ranges = self.records.entry((payload.device, *stream)).or_default();
                    cover(ranges, payload);
                }
            }
        }
    }

    /// Whether a record is counted.
    #[must_use]
    pub(crate) fn has(&self, device: Device, stream: Stream, record: u64) -> bool {
        let ranges = self.records.get(&(device, stream));
        let range = ranges.and_then(|ranges| ranges.range(..=record).next_back());
        range.is_some_and(|(_, last)| record <= *last)
    }

    /// What stands at `sequence`.
    #[must_use]
    pub(crate) fn at(&self, key: &StreamKey, sequence: u64) -> Stands {
        let runs = self.runs.get(key).map_or(&[][..], Vec::as_slice);
        let after = runs.partition_point(|run| run.first <= sequence);
        let run = after.checked_sub(1).map(|index| runs[index]);
        match run.filter(|run| sequence <= run.last).map(|run| run.body) {
            Some(Body::Record(_)) => Stands::Counted,
            Some(Body::Gap(reason)) => Stands::Gap(reason),
            None => Stands::Nothing,
        }
    }
}

/// Adds a payload's records; returns one that was there already.
fn cover(ranges: &mut BTreeMap<u64, u64>, payload: Payload) -> Option<u64> {
    let before = ranges
        .range(..=payload.last)
        .next_back()
        .map(|(first, last)| (*first, *last));
    match before {
        Some((first, last)) if last >= payload.first => Some(payload.first.max(first)),
        Some((first, last)) if last + 1 == payload.first => {
            ranges.insert(first, payload.last);
            None
        }
        Some(_) | None => {
            ranges.insert(payload.first, payload.last);
            None
        }
    }
}

fn joins(run: &Run, new: &Run) -> bool {
    run.last + 1 == new.first
        && match (run.body, new.body) {
            (Body::Record(before), Body::Record(after)) => {
                // Only one record per number can be cut apart again.
                let plain = |payload: Payload, run: &Run| {
                    payload.last - payload.first == run.last - run.first
                };
                before.device == after.device
                    && before.last + 1 == after.first
                    && plain(before, run)
                    && plain(after, new)
            }
            (Body::Gap(before), Body::Gap(after)) => before == after,
            (Body::Record(_), Body::Gap(_)) | (Body::Gap(_), Body::Record(_)) => false,
        }
}

impl Run {
    fn extend(&mut self, new: &Self) {
        self.last = new.last;
        if let (Body::Record(before), Body::Record(after)) = (&mut self.body, new.body) {
            before.last = after.last;
        }
    }

    fn cut(&mut self, through: u64) {
        if let Body::Record(payload) = &mut self.body {
            payload.last -= self.last - through;
        }
        self.last = through;
    }
}
