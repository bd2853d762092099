use millwright_package::profile::Builder;

use super::*;

/// Spread evenly over 0..1000.
fn even(i: u32) -> f64 {
    f64::from(i.wrapping_mul(2_654_435_761) >> 12) % 1000.0
}

fn profile() -> Arc<Profile> {
    let names = vec!["pressure".to_owned(), "flow".to_owned()];
    let mut builder = Builder::new("press@1.0.0".parse().unwrap(), None, names).unwrap();
    for i in 0..4000 {
        builder.row(&[even(i), even(i + 7)]).unwrap();
        builder.class(i % 2);
    }
    Arc::new(builder.build().unwrap())
}

/// A window of `rows` rows, whose pressure is `off` too high.
fn window(rows: u32, off: f64) -> ModelStats {
    let profile = profile();
    let mut stats = ModelStats {
        baseline: profile.counts(),
        ..ModelStats::default()
    };
    for i in 0..rows {
        profile.count_features(&[even(i) + off, even(i + 7)], &mut stats.baseline);
    }
    stats
}

fn verdicts(watch: &DriftWatch) -> Vec<(String, Verdict)> {
    let told = watch.differences();
    told.into_iter().map(|d| (d.name, d.verdict)).collect()
}

fn names(notice: Option<DriftNotice>) -> Vec<String> {
    match notice {
        Some(DriftNotice::Began(what)) => what.into_iter().map(|d| d.name).collect(),
        Some(DriftNotice::Ended) => vec!["ended".to_owned()],
        None => Vec::new(),
    }
}

#[test]
fn few_samples_are_gathered_over_windows_and_say_nothing_before_they_are_enough() {
    let mut watch = DriftWatch::new(profile());
    // 4 windows of 100 rows against 4000 rows of baseline are not enough, the fifth is.
    for _ in 0..4 {
        assert_eq!(watch.observe(&window(100, 400.0)), None);
        assert_eq!(verdicts(&watch)[0].1, Verdict::Inconclusive);
    }
    assert_eq!(names(watch.observe(&window(100, 400.0))), ["pressure"]);
    assert_eq!(
        verdicts(&watch),
        [
            ("pressure".to_owned(), Verdict::Drift),
            ("flow".to_owned(), Verdict::Steady),
            ("output.classes".to_owned(), Verdict::Inconclusive),
        ]
    );
}

#[test]
fn an_episode_is_told_once_and_ends_only_after_a_calm_time() {
    let mut watch = DriftWatch::new(profile());
    assert_eq!(watch.observe(&window(1000, 0.0)), None);
    assert_eq!(names(watch.observe(&window(1000, 400.0))), ["pressure"]);
    for _ in 0..5 {
        assert_eq!(watch.observe(&window(1000, 400.0)), None);
    }
    // One good minute is not the end, and neither is one between two bad ones.
    assert_eq!(watch.observe(&window(1000, 0.0)), None);
    assert_eq!(verdicts(&watch)[0].1, Verdict::Drift);
    assert_eq!(watch.observe(&window(1000, 400.0)), None);
    assert_eq!(watch.observe(&window(1000, 0.0)), None);
    assert_eq!(names(watch.observe(&window(1000, 0.0))), ["ended"]);
    assert_eq!(verdicts(&watch)[0].1, Verdict::Steady);
    assert_eq!(names(watch.observe(&window(1000, 400.0))), ["pressure"]);
}

#[test]
fn answers_that_change_are_a_drift_of_the_output() {
    let mut watch = DriftWatch::new(profile());
    let mut stats = window(0, 0.0);
    for _ in 0..1000 {
        stats.classes.add(1);
    }
    assert_eq!(names(watch.observe(&stats)), ["output.classes"]);
}

#[test]
fn counts_of_another_profile_are_not_taken() {
    let mut watch = DriftWatch::new(profile());
    let mut stats = window(2000, 400.0);
    stats.baseline.profile ^= 1;
    assert_eq!(watch.observe(&stats), None);
    assert_eq!(verdicts(&watch)[0].1, Verdict::Inconclusive);
}

#[test]
fn a_drift_is_described_with_its_figures() {
    let mut watch = DriftWatch::new(profile());
    let Some(DriftNotice::Began(what)) = watch.observe(&window(2000, 2000.0)) else {
        panic!("no drift");
    };
    let described = describe(&what);
    assert!(described.starts_with("pressure (PSI 8."), "{described}");
    assert!(described.ends_with("KS 0.90)"), "{described}");
}
