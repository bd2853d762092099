use proptest::prelude::*;

use super::*;
use crate::COUNT_MAX;

#[derive(Clone, Debug)]
enum Item {
    Raw(u64, u32),
    Whole(u64, u32),
    Signed(i64),
    Number(f64),
    Sum(i128),
    Count(u64),
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        (any::<u64>(), 0..=64_u32).prop_map(|(value, bits)| {
            Item::Raw(
                if bits < 64 {
                    value & ((1 << bits) - 1)
                } else {
                    value
                },
                bits,
            )
        }),
        (0..=COUNT_MAX, 0..63_u32, 0..10_u32).prop_map(|(v, s, order)| Item::Whole(v >> s, order)),
        (-40_000..40_000_i64).prop_map(Item::Signed),
        any::<f64>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(Item::Number),
        (any::<i128>(), 0..127_u32).prop_map(|(v, s)| Item::Sum(v >> s)),
        Just(Item::Sum(i128::MIN)),
        (0..=COUNT_MAX, 0..63_u32).prop_map(|(v, s)| Item::Count(v >> s)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(items in prop::collection::vec(item(), 0..60)) {
        let (mut encoder, mut counts) = (Encoder::new(), Counts::new());
        for item in &items {
            match *item {
                Item::Raw(value, bits) => encoder.raw(value, bits),
                Item::Whole(value, order) => encoder.whole(value, order),
                Item::Signed(value) => encoder.signed(value, 4),
                Item::Number(value) => encoder.number(value),
                Item::Sum(units) => encoder.sum(Sum::of_units(units)),
                Item::Count(count) => counts.encode(&mut encoder, count),
            }
        }
        let bytes = encoder.finish();
        let (mut decoder, mut counts) = (Decoder::new(&bytes), Counts::new());
        for item in &items {
            match *item {
                Item::Raw(value, bits) => prop_assert_eq!(decoder.raw(bits), value),
                Item::Whole(value, order) => prop_assert_eq!(decoder.whole(order), Some(value)),
                Item::Signed(value) => prop_assert_eq!(decoder.signed(4), Some(value)),
                Item::Number(value) => {
                    prop_assert_eq!(decoder.number().map(f64::to_bits), Some(value.to_bits()));
                }
                Item::Sum(units) => prop_assert_eq!(decoder.sum(), Some(Sum::of_units(units))),
                Item::Count(count) => prop_assert_eq!(counts.decode(&mut decoder), count),
            }
        }
    }

    #[test]
    fn any_bytes_are_read_as_something_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let (mut decoder, mut counts) = (Decoder::new(&bytes), Counts::new());
        for _ in 0..50 {
            let (whole, signed) = (decoder.whole(0), decoder.signed(3));
            let (number, sum) = (decoder.number(), decoder.sum());
            prop_assert!(number.is_none_or(f64::is_finite));
            prop_assert!(counts.decode(&mut decoder) <= COUNT_MAX);
            let _ = (whole, signed, sum);
        }
    }
}

#[test]
fn counts_that_resemble_their_neighbours_cost_little() {
    let (mut encoder, mut counts) = (Encoder::new(), Counts::new());
    for at in 0..200_u64 {
        counts.encode(&mut encoder, 8 + at % 5);
    }
    let bytes = encoder.finish().len();
    // 3 bits are below the highest one of each; the rest is next to nothing.
    assert!(bytes <= 200 * 3 / 8 + 12, "{bytes} bytes");
}
