use super::*;
use crate::Class;

fn thing(class: u32, x: f32) -> Detection {
    Detection {
        class,
        x,
        y: 10.0,
        width: 30.0,
        height: 40.0,
        ..Detection::default()
    }
}

fn things(detections: &[Detection]) -> Decoded {
    Decoded {
        detections: detections.to_vec(),
        ..Decoded::default()
    }
}

#[test]
fn things_agree_when_each_is_found_once_by_both() {
    let two = things(&[thing(0, 0.0), thing(1, 100.0)]);
    // In another order, and a little aside.
    assert!(two.agrees_with(&things(&[thing(1, 105.0), thing(0, 4.0)])));
    for other in [
        things(&[thing(0, 0.0)]),
        things(&[thing(0, 0.0), thing(1, 100.0), thing(1, 200.0)]),
        things(&[thing(0, 0.0), thing(0, 100.0)]),
        things(&[thing(0, 0.0), thing(1, 125.0)]),
        things(&[thing(0, 0.0), thing(0, 1.0)]),
        things(&[]),
    ] {
        assert!(!two.agrees_with(&other), "{other:?}");
        assert!(!other.agrees_with(&two), "{other:?}");
    }
    assert!(things(&[]).agrees_with(&things(&[])));
}

#[test]
fn the_likeliest_class_counts_and_not_how_sure_it_is() {
    let classes = |classes: &[(u32, f32)]| Decoded {
        classes: classes
            .iter()
            .map(|&(class, score)| Class {
                class,
                score,
                ..Class::default()
            })
            .collect(),
        ..Decoded::default()
    };
    let own = classes(&[(3, 0.9), (1, 0.1)]);
    assert!(own.agrees_with(&classes(&[(3, 0.4), (2, 0.3)])));
    assert!(!own.agrees_with(&classes(&[(1, 0.6), (3, 0.4)])));
    assert!(!own.agrees_with(&classes(&[])));
}

#[test]
fn a_judgement_about_an_anomaly_counts_and_without_one_the_score() {
    let judged = |score: f64, anomaly: Option<bool>| Decoded {
        score: Some(score),
        anomaly,
        ..Decoded::default()
    };
    assert!(judged(0.1, Some(true)).agrees_with(&judged(0.9, Some(true))));
    assert!(!judged(0.5, Some(true)).agrees_with(&judged(0.5, Some(false))));
    assert!(!judged(0.5, Some(true)).agrees_with(&judged(0.5, None)));
    assert!(judged(1.0, None).agrees_with(&judged(1.09, None)));
    assert!(!judged(1.0, None).agrees_with(&judged(1.2, None)));
}

#[test]
fn numbers_agree_within_a_tenth_and_never_when_one_is_missing() {
    let values = |values: &[(&str, f64)]| Decoded {
        values: values
            .iter()
            .map(|&(name, value)| Value {
                name: name.to_owned(),
                value,
                ..Value::default()
            })
            .collect(),
        ..Decoded::default()
    };
    let own = values(&[("width", 10.0), ("depth", 0.0)]);
    assert!(own.agrees_with(&values(&[("width", 10.9), ("depth", 0.0)])));
    for other in [
        values(&[("width", 11.5), ("depth", 0.0)]),
        values(&[("width", 10.0), ("depth", 0.1)]),
        values(&[("width", 10.0), ("height", 0.0)]),
        values(&[("width", 10.0)]),
    ] {
        assert!(!own.agrees_with(&other), "{other:?}");
    }
    let raw = |numbers: &[Option<f64>]| Decoded {
        outputs: vec![Output {
            name: "y".to_owned(),
            shape: vec![numbers.len()],
            data: Data::Numbers(numbers.to_vec()),
            left_out: 0,
        }],
        ..Decoded::default()
    };
    assert!(raw(&[Some(1.0), None]).agrees_with(&raw(&[Some(1.05), None])));
    assert!(!raw(&[Some(1.0), None]).agrees_with(&raw(&[Some(1.0), Some(1.0)])));
}
