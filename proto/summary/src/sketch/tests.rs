use proptest::prelude::*;

use super::*;
use crate::wire;

fn of(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::new();
    for value in values {
        sketch.insert(*value);
    }
    sketch
}

fn bytes(sketch: &Sketch) -> Vec<u8> {
    sketch.to_bytes()
}

/// The form before the packed one.
fn unpacked(sketch: &Sketch) -> wire::Sketch {
    wire::Sketch {
        positive: buckets_to_wire(&sketch.positive),
        negative: buckets_to_wire(&sketch.negative),
        zero: sketch.zero,
        not_finite: sketch.not_finite,
        min: sketch.min,
        max: sketch.max,
        sum: sketch.sum.to_bytes(),
        packed: Vec::new(),
    }
}

fn buckets_to_wire(buckets: &Buckets) -> Option<wire::Buckets> {
    let mut counts = buckets.ascending();
    let (first, count) = counts.next()?;
    let mut runs = vec![count << 1];
    let mut next = first + 1;
    for (index, count) in counts {
        let empty = u64::try_from(index - next).unwrap_or(0);
        if empty > 0 {
            runs.push(empty << 1 | 1);
        }
        runs.push(count << 1);
        next = index + 1;
    }
    Some(wire::Buckets { first, runs })
}

/// Numbers as they occur, mixed with nasty ones.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -100.0..100.0_f64,
        4 => 0.0..1.0_f64,
        2 => (-300..300_i32).prop_map(|exponent| 10_f64.powi(exponent)),
        1 => prop_oneof![
            Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MIN_POSITIVE / 4.0),
            Just(f64::MAX), Just(f64::MIN),
        ],
    ]
}

#[test]
fn nothing_has_no_quantile() {
    let sketch = Sketch::new();
    assert_eq!(
        (
            sketch.quantile(0.5),
            sketch.min(),
            sketch.max(),
            sketch.mean()
        ),
        (None, None, None, None)
    );
    assert_eq!(of(&[1.0]).quantile(f64::NAN), None);
}

#[test]
fn negative_zero_and_positive_numbers_come_in_order() {
    let sketch = of(&[3.0, -2.0, 0.0, 1.0, -50.0]);
    let at = |q| sketch.quantile(q).unwrap();
    for (q, expected) in [
        (0.0, -50.0),
        (0.25, -2.0),
        (0.5, 0.0),
        (0.75, 1.0),
        (1.0, 3.0),
    ] {
        assert!(
            (at(q) - expected).abs() <= RELATIVE_ERROR * expected.abs(),
            "{q} {}",
            at(q)
        );
    }
    assert_eq!(
        (sketch.min(), sketch.max(), sketch.sum()),
        (Some(-50.0), Some(3.0), -48.0)
    );
}

#[test]
fn what_is_no_number_is_counted_apart() {
    let sketch = of(&[f64::NAN, f64::NEG_INFINITY, 1.0]);
    assert_eq!(
        (sketch.count(), sketch.not_finite(), sketch.max()),
        (1, 2, Some(1.0))
    );
    let decoded = Sketch::from_bytes(&of(&[f64::NAN]).to_bytes()).unwrap();
    assert_eq!(decoded, of(&[f64::NAN]));
}

#[test]
fn buckets_stay_bounded_and_the_high_end_stays_accurate() {
    let mut sketch = Sketch::new();
    for exponent in -300..300 {
        sketch.insert(10_f64.powi(exponent));
    }
    assert_eq!(sketch.count(), 600);
    assert!(bytes(&sketch).len() < 2 * BUCKETS_MAX);
    let high = sketch.quantile(595.0 / 599.0).unwrap();
    assert!((high / 1e295 - 1.0).abs() <= RELATIVE_ERROR, "{high}");
    // Everything below shares the lowest bucket, which says so by standing far above the minimum.
    let lowest = sketch.quantile(0.0);
    assert_eq!(lowest, sketch.quantile(0.9));
    assert!(lowest > sketch.min());
}

#[test]
fn a_thousand_latencies_take_a_few_hundred_bytes() {
    // Log-normal around 8 ms, as latencies are: exp of a sum of uniform numbers.
    let values: Vec<f64> = (0_u32..1000)
        .map(|i| {
            let noise: f64 = (1..=12_u32)
                .map(|k| {
                    f64::from(i.wrapping_mul(2_654_435_761).wrapping_mul(k) >> 8)
                        / f64::from(1 << 24)
                })
                .sum();
            8.0 * ((noise - 6.0) * 0.3).exp()
        })
        .collect();
    let length = bytes(&of(&values)).len();
    assert!(length < 220, "{length} bytes");
}

#[test]
fn broken_stored_sketches_are_refused() {
    let good = unpacked(&of(&[1.0, 2.0]));
    assert_eq!(Sketch::from_wire(&good), Ok(of(&[1.0, 2.0])));
    let buckets = |first, runs: &[u64]| {
        Some(wire::Buckets {
            first,
            runs: runs.to_vec(),
        })
    };
    let with = |positive| wire::Sketch {
        positive,
        ..good.clone()
    };
    let cases = [
        (with(buckets(0, &[2, u64::MAX])), SketchError::Span),
        (
            with(buckets(0, &[2, 2 * BUCKETS_MAX as u64 + 1, 2])),
            SketchError::Span,
        ),
        (
            with(buckets(0, &vec![2; BUCKETS_MAX + 1])),
            SketchError::Span,
        ),
        (with(buckets(i32::MIN, &[2])), SketchError::Index),
        (with(buckets(i32::MAX, &[2, 2])), SketchError::Index),
        (
            with(buckets(mapping::INDEX_MAX, &[2, 2])),
            SketchError::Index,
        ),
        (
            wire::Sketch {
                zero: u64::MAX,
                ..good.clone()
            },
            SketchError::Count,
        ),
        (
            wire::Sketch {
                min: f64::NAN,
                ..good.clone()
            },
            SketchError::Extremes,
        ),
        (
            wire::Sketch {
                min: 3.0,
                max: 2.0,
                ..good.clone()
            },
            SketchError::Extremes,
        ),
        (
            wire::Sketch {
                sum: vec![1; 17],
                ..good.clone()
            },
            SketchError::Sum,
        ),
    ];
    for (wire, error) in cases {
        assert_eq!(Sketch::from_wire(&wire), Err(error));
    }
}

#[test]
fn hostile_counts_merge_without_overflow_in_any_order() {
    let mut full = unpacked(&of(&[1.0]));
    full.positive = Some(wire::Buckets {
        first: 0,
        runs: vec![u64::MAX - 1, u64::MAX - 1],
    });
    let full = Sketch::from_wire(&full).unwrap();
    let (mut one, mut two) = (full.clone(), of(&[1.0]));
    one.merge(&of(&[1.0]));
    two.merge(&full);
    assert_eq!(one, two);
    assert_eq!(one.count(), crate::COUNT_MAX);
    assert!(one.quantile(0.99).is_some());
}

#[test]
fn both_zeros_are_the_same_number() {
    let (one, other) = (of(&[0.0, -0.0]), of(&[-0.0, 0.0]));
    for sketch in [one, other] {
        let extremes = [sketch.min(), sketch.max()].map(|value| value.map(f64::to_bits));
        assert_eq!(extremes, [Some(0); 2]);
    }
}

proptest! {
    #[test]
    fn quantiles_are_within_one_percent(
        mut values in prop::collection::vec(-1e4..1e4_f64, 1..400),
        q in 0.0..=1.0_f64,
    ) {
        // Two numbers below the guaranteed range would share a bucket.
        values.retain(|value| value.abs() > 1e-4);
        prop_assume!(!values.is_empty());
        let sketch = of(&values);
        values.sort_by(f64::total_cmp);
        let exact = values[(q * (values.len() - 1) as f64) as usize];
        let found = sketch.quantile(q).unwrap();
        prop_assert!((found - exact).abs() <= RELATIVE_ERROR * exact.abs(), "{found} {exact}");
    }

    #[test]
    fn order_and_grouping_do_not_change_a_single_byte(
        values in prop::collection::vec(value(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        seed: u64,
    ) {
        let whole = of(&values);

        let mut shuffled = values.clone();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(values.len() + 1)).collect();
        ends.push(values.len());
        ends.sort_unstable();
        let mut start = 0;
        let mut parts: Vec<Sketch> = Vec::new();
        for end in ends {
            parts.push(of(&shuffled[start..end]));
            start = end;
        }
        // Pairwise from the back, then the rest from the front: neither left nor right fold.
        while parts.len() > 2 {
            let last = parts.pop().unwrap_or_default();
            let middle = parts.len() / 2;
            parts[middle].merge(&last);
        }
        let merged = parts.iter().rev().fold(Sketch::new(), |mut sum, part| {
            sum.merge(part);
            sum
        });
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(bytes(&merged), bytes(&whole));
    }

    #[test]
    fn the_stored_form_round_trips(values in prop::collection::vec(value(), 0..100)) {
        let sketch = of(&values);
        let decoded = Sketch::from_wire(&sketch.to_wire());
        prop_assert_eq!(decoded.as_ref(), Ok(&sketch));
        prop_assert_eq!(bytes(&decoded.unwrap()), bytes(&sketch));
        prop_assert_eq!(Sketch::from_wire(&unpacked(&sketch)), Ok(sketch));
    }

    #[test]
    fn a_broken_packed_form_is_refused_or_is_a_sketch(
        values in prop::collection::vec(value(), 1..50), at in any::<prop::sample::Index>(), byte: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes(&of(&values));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(1 + cut.index(bytes.len()));
        if let Ok(mut sketch) = Sketch::from_bytes(&bytes) {
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch.clone()));
            prop_assert_eq!(sketch.quantile(0.5).is_some(), sketch.count() > 0);
            sketch.merge(&of(&values));
        }
    }
}
