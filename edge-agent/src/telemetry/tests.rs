//! What a recorder makes of what happens.

use edge_core::summary::Quality;
use millwright_package::profile::Builder;
use millwright_summary::ClockQuality;

use super::*;

const START: Moment = Moment {
    monotonic_ms: 0,
    wall_ms: 0,
    clock: ClockQuality::Floor,
};

fn recorder() -> Recorder {
    Recorder::new(BootId::from_bytes([0; 16]), START)
}

#[test]
fn a_latency_is_kept_to_a_hundredth_of_a_percent_in_few_binary_places() {
    for nanoseconds in [1, 20_000, 8_123_457, 60_000_000_000] {
        let exact = nanoseconds as f64 / 1e6;
        let kept = milliseconds(Duration::from_nanos(nanoseconds));
        assert!(
            (kept - exact).abs() <= 0.5 / LATENCY_STEPS + exact * 1e-4
                || kept * LATENCY_STEPS == 1.0
        );
        assert_eq!((kept * LATENCY_STEPS).fract(), 0.0);
    }
    assert_eq!(milliseconds(Duration::ZERO), 0.0);
}

#[test]
fn drift_is_told_when_it_begins_and_a_model_that_is_withdrawn_is_no_longer_watched() {
    let model: ModelVersion = "press@1.0.0".parse().unwrap();
    let mut builder = Builder::new(model.clone(), None, vec!["pressure".to_owned()]).unwrap();
    for i in 0..2000 {
        builder.row(&[f64::from(i % 500)]).unwrap();
        builder
            .image([100.0 + f64::from(i % 50), 30.0, 400.0])
            .unwrap();
    }
    let recorder = recorder();
    let profile = Arc::new(builder.build().unwrap());
    recorder.baseline(&model, Some(profile));
    for i in 0..1000 {
        recorder.input(&model, InputSample::Features(&[f64::from(i % 500) + 300.0]));
        let quality = Quality {
            brightness: 100.0 + f64::from(i % 50),
            contrast: 30.0,
            sharpness: 400.0,
        };
        recorder.input(&model, InputSample::Image(quality));
    }
    let (window, told) = recorder.cut(START, Cut::Full, LinkStats::default());
    let stats = window.models.values().next().unwrap();
    assert_eq!(stats.image.contrast.count(), 1000);
    let [(_, DriftNotice::Began(what))] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((what.len(), what[0].name.as_str()), (1, "pressure"));
    assert_eq!(recorder.drift()[0].differences.len(), 4);
    assert!(recorder.drifts(&model));
    recorder.baseline(&model, None);
    assert!(recorder.drift().is_empty());
    assert!(!recorder.drifts(&model));
}
