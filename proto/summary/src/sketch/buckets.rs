//! Counts by bucket index, within a bounded span.
//!
//! At most [`BUCKETS_MAX`] indices below the highest one are told apart; what lies lower is counted
//! in the lowest of them. A count thus ends at `max(index, highest - BUCKETS_MAX + 1)` for the
//! highest index ever seen, whenever it came: collapsing early and again later is the same as
//! collapsing once. That makes the result independent of order and grouping.

/// Indices told apart per sign: 1024 / 35 = 29 octaves, a factor of 5e8 between the largest and the
/// smallest magnitude (a microsecond to nine minutes), in at most 8 KiB of memory.
pub const BUCKETS_MAX: usize = 1024;

/// Room is made for this many indices at a time, so that a growing span seldom allocates.
const CHUNK: i32 = 32;

const SPAN_MAX: i32 = BUCKETS_MAX as i32;

/// Counts by index. Slots without a count at either end are spare room and mean nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    /// Index of slot 0.
    first: i32,
    /// Highest index with a count; meaningless while `counts` is empty.
    highest: i32,
    counts: Vec<u64>,
}

impl Buckets {
    /// Counts one more at `index`.
    pub(super) fn increment(&mut self, index: i32) {
        let slot = index.wrapping_sub(self.first).cast_unsigned() as usize;
        // Nearly every number lies between the extremes seen so far; an empty list has no slot.
        if index <= self.highest
            && index >= self.lowest()
            && let Some(count) = self.counts.get_mut(slot)
        {
            *count = crate::add_counts(*count, 1);
        } else {
            self.add(index, 1);
        }
    }

    #[inline(never)]
    pub(super) fn add(&mut self, index: i32, count: u64) {
        if count == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.first = index.div_euclid(CHUNK) * CHUNK;
            self.highest = index;
        }
        if index > self.highest {
            self.highest = index;
            self.collapse();
        }
        let slot = self.slot(index.max(self.lowest()));
        self.counts[slot] = crate::add_counts(self.counts[slot], count);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.holds(other) {
            let from = usize::try_from(other.first - self.first).unwrap_or(0);
            for (own, count) in self.counts[from..].iter_mut().zip(&other.counts) {
                *own = crate::add_counts(*own, *count);
            }
            return;
        }
        // From the top, so that nothing is stored that would be collapsed right after.
        for (index, count) in other.descending() {
            self.add(index, count);
        }
    }

    pub(super) fn ascending(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> {
        let first = self.first;
        (self.counts.iter().enumerate())
            .filter(|(_, count)| **count > 0)
            .map(move |(slot, count)| (first + slot as i32, *count))
    }

    pub(super) fn descending(&self) -> impl Iterator<Item = (i32, u64)> {
        self.ascending().rev()
    }

    /// Whether every slot of `other` has its own slot here, so that slots add up one by one.
    fn holds(&self, other: &Self) -> bool {
        let end = |buckets: &Self| i64::from(buckets.first) + buckets.counts.len() as i64;
        !self.counts.is_empty()
            && other.highest <= self.highest
            && other.first >= self.first.max(self.lowest())
            && end(other) <= end(self)
    }

    /// The lowest index told apart.
    fn lowest(&self) -> i32 {
        self.highest - SPAN_MAX + 1
    }

    /// Moves what lies below the lowest index into it.
    fn collapse(&mut self) {
        let below = usize::try_from(self.lowest() - self.first).unwrap_or(0);
        if below == 0 {
            return;
        }
        let below = below.min(self.counts.len());
        let moved = self.counts.drain(..below).fold(0, crate::add_counts);
        self.first = self.lowest();
        if moved > 0 {
            let slot = self.slot(self.first);
            self.counts[slot] = crate::add_counts(self.counts[slot], moved);
        }
    }

    /// The slot of an index, making room for it where there is none.
    fn slot(&mut self, index: i32) -> usize {
        if index < self.first {
            let first = index.div_euclid(CHUNK) * CHUNK;
            let more = usize::try_from(self.first - first).unwrap_or(0);
            self.counts.splice(..0, std::iter::repeat_n(0, more));
            self.first = first;
        }
        let slot = usize::try_from(index - self.first).unwrap_or(0);
        if slot >= self.counts.len() {
            let chunk = CHUNK as usize;
            self.counts.resize((slot / chunk + 1) * chunk, 0);
        }
        slot
    }
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.ascending().eq(other.ascending())
    }
}
