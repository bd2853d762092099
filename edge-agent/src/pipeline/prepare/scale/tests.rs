use millwright_package::profile::Builder;

use super::*;

/// The profile of two rows, 8 and 12 for the first feature, 100 and 300 for the second.
fn profile(names: &[&str], input: Option<&str>) -> Profile {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let model = "press@1.0.0".parse().unwrap();
    let mut builder = Builder::new(model, input.map(str::to_owned), names).unwrap();
    for row in [[8.0, 100.0], [12.0, 300.0]] {
        builder.row(&row).unwrap();
    }
    builder.build().unwrap()
}

fn fields(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn window(step: Option<u32>, order: Order) -> Option<Window> {
    let size = 3;
    Some(Window { size, step, order })
}

#[test]
fn each_field_is_scaled_by_the_feature_in_its_place() {
    let profile = profile(&["a", "b"], None);
    let of = |feature: usize| &profile.features()[feature].1;
    // Whatever deviation the profile has for two values, it is the one that is divided by.
    let expected = |a: f64, b: f64| [(a - 10.0) / of(0).std, (b - 200.0) / of(1).std];
    assert!(of(0).std > 0.0 && of(1).std > 10.0 * of(0).std);
    for names in [["a", "b"], ["force", "heat"]] {
        let scale = RowScale::of(&Scale::Profile, &fields(&names), Some(&profile)).unwrap();
        let mut rows = [12.0, 100.0, 10.0, 200.0];
        scale.apply(&mut rows, None);
        assert_eq!(rows[..2], expected(12.0, 100.0));
        assert_eq!(rows[2..], [0.0, 0.0]);
        let mut by_field = [12.0, 10.0, 10.0, 100.0, 200.0, 200.0];
        scale.apply(&mut by_field, window(None, Order::Fields));
        let [a, b] = expected(12.0, 100.0);
        assert_eq!(by_field, [a, 0.0, 0.0, b, 0.0, 0.0]);
    }
}

#[test]
fn a_profile_that_cannot_be_meant_is_refused_with_what_to_write() {
    let of = |names: &[&str], profile: Option<&Profile>| {
        RowScale::of(&Scale::Profile, &fields(names), profile).unwrap_err()
    };
    let raw = profile(&["a", "b"], None);
    assert_eq!(of(&["a", "b"], None), ScaleError::NoProfile);
    let seen = profile(&["a", "b"], Some("sensors"));
    let error = of(&["a", "b"], Some(&seen));
    assert!(error.to_string().contains("gets in `sensors`"), "{error}");
    let error = of(&["a", "b", "c"], Some(&raw)).to_string();
    assert!(
        error.contains("2 features") && error.contains("3 fields"),
        "{error}"
    );
    let error = of(&["b", "a"], Some(&raw)).to_string();
    assert!(error.ends_with("write `fields: [a, b]`"), "{error}");
}

#[test]
fn a_profile_without_features_is_none() {
    let model = "press@1.0.0".parse().unwrap();
    let mut builder = Builder::new(model, None, Vec::new()).unwrap();
    builder.image([0.5, 0.5, 0.5]).unwrap();
    let of_pictures = builder.build().unwrap();
    let error = RowScale::of(&Scale::Profile, &fields(&["a"]), Some(&of_pictures)).unwrap_err();
    assert_eq!(error, ScaleError::NoProfile);
}

#[test]
fn only_the_new_rows_of_overlapping_windows_are_told_and_in_the_order_of_the_fields() {
    let rows = |values: &[f64], window| {
        let rows = RawRows::of(values, 2, window).unwrap();
        rows.iter().map(<[f64]>::to_vec).collect::<Vec<_>>()
    };
    let by_row = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];
    let by_field = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
    let all = [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]];
    assert_eq!(rows(&by_row, None), all);
    assert_eq!(rows(&by_row, window(None, Order::Rows)), all);
    assert_eq!(rows(&by_row, window(Some(7), Order::Rows)), all);
    assert_eq!(rows(&by_field, window(Some(3), Order::Fields)), all);
    assert_eq!(rows(&by_row, window(Some(1), Order::Rows)), all[2..]);
    assert_eq!(rows(&by_field, window(Some(2), Order::Fields)), all[1..]);
    assert_eq!(RawRows::of(&[1.0], 2, None), None);
}
