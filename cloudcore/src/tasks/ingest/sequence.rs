//! Where a range of sequence numbers stands against the watermark of its stream: the rule that makes
//! every record count exactly once.

use super::Violation;

/// Highest sequence number and generation: what SQLite's signed integers hold.
pub(super) const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// Where a range stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It follows the watermark; what is to be counted begins at this number.
    Next(u64),
    /// It is counted already: acknowledge it again.
    Counted,
}

/// Places a record. A record cannot be cut, so one that straddles the watermark is refused.
pub(super) fn place_record(through: u64, first: u64, last: u64) -> Result<Place, Violation> {
    match place_gap(through, first, last)? {
        Place::Next(from) if from != first => Err(Violation::Straddle {
            first,
            last,
            through,
        }),
        place @ (Place::Next(_) | Place::Counted) => Ok(place),
    }
}

/// Places a gap. One that begins at or below the watermark is cut: records it calls lost did arrive.
pub(super) fn place_gap(through: u64, from: u64, to: u64) -> Result<Place, Violation> {
    if from == 0 || from > to || to > NUMBER_MAX {
        return Err(Violation::Range {
            first: from,
            last: to,
        });
    }
    let next = through + 1;
    if from > next {
        let (first, last) = (from, to);
        return Err(Violation::Hole {
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
            Err(Violation::Straddle { .. })
        ));
        assert!(matches!(place_record(4, 6, 6), Err(Violation::Hole { .. })));
        assert!(matches!(
            place_record(0, 0, 1),
            Err(Violation::Range { .. })
        ));
        assert!(matches!(
            place_record(0, 2, 1),
            Err(Violation::Range { .. })
        ));
        assert!(matches!(
            place_record(0, 1, u64::MAX),
            Err(Violation::Range { .. })
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
