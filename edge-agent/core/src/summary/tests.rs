//! What a window says of what was observed.

use millwright_package::profile::Builder;

use super::*;

fn at(monotonic_ms: u64) -> Moment {
    Moment {
        monotonic_ms,
        wall_ms: 1_000_000 + monotonic_ms,
        clock: ClockQuality::Synchronized,
    }
}

fn sent(sent_bytes: u64) -> LinkStats {
    LinkStats {
        sent_bytes,
        ..LinkStats::default()
    }
}

#[test]
fn a_window_counts_what_happened_since_the_last_cut_and_nothing_else() {
    let model: ModelVersion = "detector@1.0.0".parse().unwrap();
    let mut open = Aggregator::new(BootId::from_bytes([7; 16]), at(500), sent(100));
    open.request(
        &model,
        Observation::Answered {
            latency_ms: 4.0,
            phases: Phases {
                queue_ms: 0.5,
                infer_ms: 3.0,
                ..Phases::default()
            },
            confidence: Some(0.5),
            class: Some(7),
        },
    );
    open.request(&model, Observation::Failed(ErrorClass::Shape));
    open.gauge("cpu_percent", 10.0);
    open.gauge("cpu_percent", 30.0);
    let window = open.cut(at(60_500), Cut::Full, sent(350));
    let stats = window.models.values().next().unwrap();
    assert_eq!((stats.requests, stats.failed()), (2, 1));
    assert_eq!((stats.latency_ms.count(), stats.confidence.count()), (1, 1));
    let phases = stats.phases.named().map(|(_, sketch)| sketch.max());
    assert_eq!(phases, [Some(0.5), None, Some(3.0), None]);
    assert_eq!(stats.classes.of(7), 1);
    assert_eq!(window.node["cpu_percent"].mean(), Some(20.0));
    assert_eq!(window.link.sent_bytes, 250);
    assert_eq!(window.time.monotonic_start_ms, 500);
    assert_eq!(
        (window.time.length_ms, window.time.coverage_ms),
        (60_000, 60_000)
    );
    assert_eq!(window.time.interrupted, 0);

    let next = open.cut(at(120_500), Cut::Full, sent(350));
    assert_eq!(next.time.monotonic_start_ms, 60_500);
    assert!(next.models.is_empty() && next.node.is_empty());
    assert_eq!(next.link, LinkStats::default());
}

#[test]
fn an_interrupted_window_says_how_much_of_its_length_it_covers() {
    let mut open = Aggregator::new(BootId::from_bytes([7; 16]), at(0), sent(0));
    let window = open.cut(at(15_000), Cut::Interrupted { planned_ms: 60_000 }, sent(0));
    assert_eq!(window.time.interrupted, 1);
    assert_eq!(
        (window.time.length_ms, window.time.coverage_ms),
        (60_000, 15_000)
    );
}

#[test]
fn confidence_is_one_number_and_skips_what_is_none() {
    let elements = || [0.25, f64::NAN, 0.75].into_iter();
    assert_eq!(reduce(Reduce::Max, elements()), Some(0.75));
    assert_eq!(reduce(Reduce::Min, elements()), Some(0.25));
    assert_eq!(reduce(Reduce::Mean, elements()), Some(0.5));
    assert_eq!(reduce(Reduce::Mean, [f64::NAN].into_iter()), None);
}

#[test]
fn inputs_are_counted_against_the_profile_of_their_model_in_every_window() {
    let model: ModelVersion = "press@1.0.0".parse().unwrap();
    let names = vec!["pressure".to_owned()];
    let mut builder = Builder::new(model.clone(), None, names).unwrap();
    for i in 0..100 {
        builder.row(&[f64::from(i)]).unwrap();
        builder.confidence(f64::from(i)).unwrap();
    }
    let profile = Arc::new(builder.build().unwrap());
    let mut open = Aggregator::new(BootId::from_bytes([7; 16]), at(0), sent(0));
    open.baseline(&model, Some(Arc::clone(&profile)));
    for minute in 1..3 {
        open.input(&model, InputSample::Features(&[5.0]));
        open.input(&model, InputSample::Features(&[500.0]));
        open.input(&model, InputSample::Features(&[1.0, 2.0]));
        open.ready(&model, 59_000);
        let window = open.cut(at(minute * 60_000), Cut::Full, sent(0));
        let stats = &window.models[&label(&model)];
        assert_eq!(stats.baseline.profile, profile.counts().profile);
        let row = &stats.baseline.rows[0];
        assert_eq!((row.counts[0], row.counts[9], row.outside), (1, 1, 1));
        assert_eq!(stats.ready_ms, 59_000);
    }
    open.baseline(&model, None);
    open.input(&model, InputSample::Features(&[5.0]));
    let window = open.cut(at(200_000), Cut::Full, sent(0));
    assert_eq!(window.models, BTreeMap::new());
}

#[test]
fn a_window_carries_the_usual_classes_and_counts_the_rest() {
    let model: ModelVersion = "sorter@1.0.0".parse().unwrap();
    let mut open = Aggregator::new(BootId::from_bytes([7; 16]), at(0), sent(0));
    for class in 0..1000 {
        for _ in 0..=class {
            let answered = Observation::Answered {
                latency_ms: 1.0,
                phases: Phases::default(),
                confidence: None,
                class: Some(class),
            };
            open.request(&model, answered);
        }
    }
    let window = open.cut(at(60_000), Cut::Full, sent(0));
    let classes = &window.models[&label(&model)].classes;
    assert_eq!((classes.iter().count(), classes.of(999)), (32, 1000));
    assert_eq!(classes.total(), 500_500);
}
