use proptest::prelude::*;

use super::*;
use millwright_summary::ModelStats;
use millwright_summary::distance::Verdict;

fn model() -> ModelVersion {
    "press@1.0.0".parse().unwrap()
}

/// Two features: one spread evenly, one that is nearly always the same.
fn row(i: u32) -> [f64; 2] {
    let even = f64::from(i.wrapping_mul(2_654_435_761) >> 12);
    [even, if i.is_multiple_of(8) { 3.0 } else { 2.0 }]
}

fn profile() -> Profile {
    let names = vec!["pressure".to_owned(), "mode".to_owned()];
    let mut builder = Builder::new(model(), Some("sensors".to_owned()), names).unwrap();
    for i in 0..4000 {
        builder.row(&row(i)).unwrap();
        builder
            .image([f64::from(i % 97), 3.0, f64::from(i % 11)])
            .unwrap();
        builder.confidence(f64::from(i % 101) / 100.0).unwrap();
        builder.class(i % 4);
    }
    builder.build().unwrap()
}

fn stats(rows: impl Iterator<Item = [f64; 2]>) -> ModelStats {
    let profile = profile();
    let mut stats = ModelStats {
        baseline: profile.counts(),
        ..ModelStats::default()
    };
    for row in rows {
        profile.count_features(&row, &mut stats.baseline);
    }
    stats
}

fn verdict(stats: &ModelStats, name: &str) -> Verdict {
    let differences = profile().compare(stats);
    differences.iter().find(|d| d.name == name).unwrap().verdict
}

#[test]
fn a_profile_survives_its_file_and_keeps_its_fingerprint() {
    let profile = profile();
    let again = Profile::parse(&profile.to_json(), "profile.json").unwrap();
    assert_eq!(again, profile);
    assert_eq!(again.to_json(), profile.to_json());
    let names: Vec<&str> = profile.distributions().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "pressure",
            "mode",
            "image.brightness",
            "image.contrast",
            "image.sharpness",
            "output.confidence"
        ]
    );
    assert_eq!(profile.counts().rows.len(), names.len());
}

#[test]
fn bins_are_deciles_and_a_value_that_fills_most_of_them_has_one_of_its_own() {
    let profile = profile();
    let (_, pressure) = &profile.features()[0];
    assert_eq!(pressure.shares.len(), 10);
    assert!(
        pressure
            .shares
            .iter()
            .all(|share| (share - 0.1).abs() < 0.002)
    );
    let (_, mode) = &profile.features()[1];
    assert_eq!(
        (mode.edges.as_slice(), mode.shares.as_slice()),
        ([2.5].as_slice(), [0.875, 0.125].as_slice())
    );
    assert_eq!((mode.min, mode.max, mode.mean), (2.0, 3.0, 2.125));
}

#[test]
fn the_same_data_is_steady_and_a_shift_is_seen_where_it_is_and_nowhere_else() {
    let same = stats((5000..7000).map(row));
    assert_eq!(verdict(&same, "pressure"), Verdict::Steady);
    assert_eq!(verdict(&same, "mode"), Verdict::Steady);
    let std = profile().features()[0].1.std;
    let shifted = stats((5000..7000).map(row).map(|[a, b]| [a + std, b]));
    assert_eq!(verdict(&shifted, "pressure"), Verdict::Drift);
    assert_eq!(verdict(&shifted, "mode"), Verdict::Steady);
    assert_eq!(worst(&profile().compare(&shifted)), Verdict::Drift);
    assert_eq!(
        verdict(&stats((0..300).map(row)), "pressure"),
        Verdict::Inconclusive
    );
}

#[test]
fn a_sensor_that_dies_is_seen_and_values_never_seen_before_are_counted() {
    let dead = |i: u32| {
        if i.is_multiple_of(10) {
            f64::NAN
        } else {
            row(i)[0]
        }
    };
    let dying = stats((0..2000).map(|i| [dead(i), 2.0 + f64::from(i % 8 / 7) * 5.0]));
    assert_eq!(verdict(&dying, "pressure"), Verdict::Drift);
    let mode = profile().compare(&dying).remove(1);
    assert_eq!((mode.verdict, mode.outside), (Verdict::Steady, 0.125));
}

#[test]
fn classes_and_confidence_have_a_verdict_too() {
    let profile = profile();
    let mut stats = stats(std::iter::empty());
    for i in 0..1000_u32 {
        profile.count_confidence(0.99, &mut stats.baseline);
        profile.count_image(
            [f64::from(i % 97), 3.0, f64::from(i % 11)],
            &mut stats.baseline,
        );
        stats.classes.add(if i.is_multiple_of(2) { 0 } else { 77 });
    }
    assert_eq!(verdict(&stats, CONFIDENCE_NAME), Verdict::Drift);
    assert_eq!(verdict(&stats, CLASSES_NAME), Verdict::Drift);
    assert_eq!(verdict(&stats, "image.brightness"), Verdict::Steady);
}

#[test]
fn counts_of_another_profile_are_not_compared() {
    let mut other = stats((0..2000).map(row));
    other.baseline.profile ^= 1;
    assert_eq!(profile().compare(&other), []);
}

#[test]
fn profiles_that_cannot_be_meant_are_refused_by_field() {
    let good = profile().to_json();
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let text = good.replacen(from, to, 1);
        Profile::parse(&text, "profile.json")
            .unwrap_err()
            .to_string()
    };
    for (from, to, words) in [
        (
            "\"schema\": 1",
            "\"schema\": 7",
            "schema is 7; this program reads 1",
        ),
        (
            "\"pressure\"",
            "\"image.x\"",
            "features[0].name is `image.x`",
        ),
        (
            "\"mode\"",
            "\"pressure\"",
            "features[1].name repeats `pressure`",
        ),
        ("0.875", "0.5", "features[1].of.shares must be"),
        ("2.5", "1e400", "profile.json"),
        ("\"edges\"", "\"egdes\"", "edges"),
        ("\"count\": 4000", "\"count\": 0", "was made from no value"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(words), "{words}\n{error}");
    }
    let long = " ".repeat(PROFILE_BYTES_MAX + 1);
    assert!(matches!(
        Profile::parse(&long, "p"),
        Err(ProfileError::TooLong { .. })
    ));
}

#[test]
fn sample_data_that_gives_no_profile_is_refused() {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let build = |of: &[&str]| Builder::new(model(), None, names(of));
    assert!(matches!(
        build(&["a", "a"]),
        Err(BuildError::Name { index: 1, .. })
    ));
    assert!(matches!(build(&["a"; 65]), Err(BuildError::Features(65))));
    let mut builder = build(&["a", "b"]).unwrap();
    assert!(matches!(
        builder.row(&[1.0]),
        Err(BuildError::Row { found: 1, .. })
    ));
    builder.row(&[1.0, f64::NAN]).unwrap();
    assert!(matches!(builder.build(), Err(BuildError::Empty(name)) if name == "b"));
}

proptest! {
    #[test]
    fn any_numbers_make_a_profile_that_is_read_again(
        values in prop::collection::vec(prop_oneof![any::<f64>(), -9.0..9.0_f64, Just(0.0)], 1..200),
    ) {
        let mut builder = Builder::new(model(), None, vec!["x".to_owned()]).unwrap();
        for value in &values {
            // Beyond it the variance is no number any more.
            builder.row(&[if value.abs() < 1e150 { *value } else { f64::NAN }]).unwrap();
        }
        if let Ok(profile) = builder.build() {
            let again = Profile::parse(&profile.to_json(), "p").unwrap();
            prop_assert_eq!(again.features().len(), 1);
            let shares: f64 = again.features()[0].1.shares.iter().sum();
            prop_assert!((shares - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn hostile_text_does_not_panic(text in ".{0,200}") {
        let _ = Profile::parse(&text, "p");
    }
}
