//! Where a range of sequence numbers stands against the watermark of its stream: the rule that makes
//! every record count exactly once.

use thiserror::Error;

/// Highest sequence number and generation: what a database's signed integers hold.
pub const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// Where a range stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It follows the watermark; what is to be counted begins at this number.
    Next(u64),
    /// It is counted already: acknowledge it again.
    Counted,
}

/// A range that cannot stand where it claims to; its text is the message of the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Misplaced {
    /// Not a range of sequence numbers.
    #[error("{first} to {last} is no range of sequence numbers")]
    Range {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
    },
    /// Sequence numbers are missing before it.
    #[error("{first} to {last} leaves a hole: counted is through {through}; declare a gap")]
    Hole {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
        /// The watermark.
        through: u64,
    },
    /// Part of it is counted already, part is not.
    #[error(
        "{first} to {last} straddles the watermark {through}: offered records must not be merged"
    )]
    Straddle {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
        /// The watermark.
        through: u64,
    },
}

/// Places a record. A record cannot be cut, so one that straddles the watermark is refused.
///
/// # Errors
/// When the range breaks the protocol.
pub fn place_record(through: u64, first: u64, last: u64) -> Result<Place, Misplaced> {
    match place_gap(through, first, last)? {
        Place::Next(from) if from != first => Err(Misplaced::Straddle {
            first,
            last,
            through,
        }),
        place @ (Place::Next(_) | Place::Counted) => Ok(place),
    }
}

/// Places a gap. One that begins at or below the watermark is cut: records it calls lost did arrive.
///
/// # Errors
/// When the range breaks the protocol.
pub fn place_gap(through: u64, from: u64, to: u64) -> Result<Place, Misplaced> {
    if from == 0 || from > to || to > NUMBER_MAX {
        return Err(Misplaced::Range {
            first: from,
            last: to,
        });
    }
    let next = through + 1;
    if from > next {
        let (first, last) = (from, to);
        return Err(Misplaced::Hole {
            first,
            last,
            through,
        });
    }
    if to < next {
        return Ok(Place::Counted);
    }
    Ok(Place::Next(next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_follows_the_watermark_counts() {
        assert_eq!(place_record(4, 5, 7), Ok(Place::Next(5)));
        assert_eq!(place_record(4, 3, 4), Ok(Place::Counted));
        assert!(matches!(
            place_record(4, 4, 5),
            Err(Misplaced::Straddle { .. })
        ));
        assert!(matches!(place_record(4, 6, 6), Err(Misplaced::Hole { .. })));
        assert!(matches!(
            place_record(0, 0, 1),
            Err(Misplaced::Range { .. })
        ));
        assert!(matches!(
            place_record(0, 2, 1),
            Err(Misplaced::Range { .. })
        ));
        assert!(matches!(
            place_record(0, 1, u64::MAX),
            Err(Misplaced::Range { .. })
        ));
        assert_eq!(place_gap(4, 3, 9), Ok(Place::Next(5)));
    }

    proptest! {
        #[test]
        fn every_number_counts_at_most_once_and_without_holes(
            ranges in prop::collection::vec((0_u64..40, 0_u64..6, any::<bool>()), 0..80)
        ) {
            let mut through = 0;
            let mut counted = Vec::new();
            for (first, width, gap) in ranges {
                let last = first + width;
                let place = if gap { place_gap } else { place_record };
                if let Ok(Place::Next(from)) = place(through, first, last) {
                    prop_assert!(gap || from == first);
                    counted.extend(from..=last);
                    through = last;
                }
            }
            prop_assert_eq!(counted, (1..=through).collect::<Vec<_>>());
        }
    }
}
