//! How often a model said what: counts by class, within a bound.
//!
//! At most [`CLASSES_MAX`] classes are told apart, those with the lowest numbers; the rest is one number. Which classes
//! are kept depends only on which were ever seen: one that fell out of a part is above [`CLASSES_MAX`] others there, and so
//! it is in the whole. That makes the result independent of order and grouping, as with the buckets of a sketch.

use std::collections::BTreeMap;

/// Classes told apart: those of the usual picture classifiers (1000), in 16 KiB.
pub const CLASSES_MAX: usize = 1024;

/// Classes a window carries to the cloud, see [`Classes::shortened`].
pub const CLASSES_SENT_MAX: usize = 32;

/// Answers by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    counts: BTreeMap<u32, u64>,
    other: u64,
}

impl Classes {
    /// Counts one answer.
    pub fn add(&mut self, class: u32) {
        self.add_many(class, 1);
    }

    /// Counts `count` answers of one class.
    pub(crate) fn add_many(&mut self, class: u32, count: u64) {
        if count == 0 {
            return;
        }
        let full = self.counts.len() == CLASSES_MAX && !self.counts.contains_key(&class);
        let last = self.counts.last_key_value().map(|(class, _)| *class);
        if full && last < Some(class) {
            self.other = crate::add_counts(self.other, count);
            return;
        }
        if full && let Some((_, count)) = self.counts.pop_last() {
            self.other = crate::add_counts(self.other, count);
        }
        let own = self.counts.entry(class).or_default();
        *own = crate::add_counts(*own, count);
    }

    pub(crate) fn add_other(&mut self, count: u64) {
        self.other = crate::add_counts(self.other, count);
    }

    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in &other.counts {
            self.add_many(*class, *count);
        }
        self.add_other(other.other);
    }

    /// The [`CLASSES_SENT_MAX`] most frequent classes, those in `always` first; the rest is counted as other.
    #[must_use]
    pub fn shortened(&self, always: impl Fn(u32) -> bool) -> Self {
        let mut ranked: Vec<(u32, u64)> = self.counts.iter().map(|(c, n)| (*c, *n)).collect();
        ranked.sort_by_key(|(class, count)| (!always(*class), std::cmp::Reverse(*count), *class));
        let rest = ranked.split_off(ranked.len().min(CLASSES_SENT_MAX));
        let rest = rest.iter().map(|(_, count)| *count);
        Self {
            counts: ranked.into_iter().collect(),
            other: rest.fold(self.other, crate::add_counts),
        }
    }

    /// Answers by class, lowest class first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.counts.iter().map(|(class, count)| (*class, *count))
    }

    /// Answers of one class.
    #[must_use]
    pub fn of(&self, class: u32) -> u64 {
        self.counts.get(&class).copied().unwrap_or(0)
    }

    /// Answers of classes that are not told apart.
    #[must_use]
    pub fn other(&self) -> u64 {
        self.other
    }

    /// All answers that had a class.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .values()
            .copied()
            .fold(self.other, crate::add_counts)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(classes: &[u32]) -> Classes {
        let mut counted = Classes::default();
        classes.iter().for_each(|class| counted.add(*class));
        counted
    }

    #[test]
    fn what_is_sent_are_the_most_frequent_and_those_that_are_expected() {
        let mut counted = Classes::default();
        for class in 0..100 {
            counted.add_many(class, u64::from(class) + 1);
        }
        let sent = counted.shortened(|class| class == 3);
        assert_eq!(sent.iter().count(), CLASSES_SENT_MAX);
        assert_eq!((sent.of(3), sent.of(99), sent.of(4)), (4, 100, 0));
        assert_eq!(sent.total(), counted.total());
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter_also_beyond_the_bound(
            mut classes in prop::collection::vec(0..1500_u32, 0..3000), cut in any::<prop::sample::Index>(),
        ) {
            let whole = of(&classes);
            let cut = cut.index(classes.len() + 1);
            let (mut early, late) = (of(&classes[..cut]), of(&classes[cut..]));
            let mut reverse = late.clone();
            early.merge(&late);
            reverse.merge(&of(&classes[..cut]));
            prop_assert_eq!(&early, &whole);
            prop_assert_eq!(&reverse, &whole);
            prop_assert!(whole.iter().count() <= CLASSES_MAX);
            prop_assert_eq!(whole.total(), classes.len() as u64);
            classes.reverse();
            prop_assert_eq!(of(&classes), whole);
        }
    }
}
