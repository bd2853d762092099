use proptest::prelude::*;

use super::*;

pub(super) fn pipeline() -> PipelineName {
    "gate".parse().unwrap()
}

pub(super) fn keep(store: &mut Store, data: &[u8], now_ms: u64) -> Example {
    let model = "faces@1.0.0".parse().unwrap();
    let new = New {
        model: &model,
        reason: Reason::LowConfidence,
        confidence: Some(0.25),
        form: "jpg",
        data,
        result: serde_json::json!({"detections": []}),
    };
    store.keep(new, now_ms).unwrap()
}

fn ids(root: &Path) -> Vec<String> {
    list(root).unwrap().into_iter().map(|e| e.id).collect()
}

#[test]
fn what_was_kept_is_listed_and_read_after_the_store_is_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    let first = keep(&mut store, b"picture", 1_700_000_000_000);
    drop(store);
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    // The clock went backwards: the ids still differ.
    let second = keep(&mut store, b"another", 1_700_000_000_000);
    assert_eq!(ids(root.path()), [first.id.clone(), second.id]);
    let (example, data) = read(root.path(), &pipeline(), &first.id).unwrap();
    assert_eq!((example, data.as_slice()), (first, &b"picture"[..]));
}

#[test]
fn the_oldest_give_way_within_the_quota() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 4000).unwrap();
    let kept: Vec<_> = (0..8)
        .map(|at| keep(&mut store, &[7; 1000], at).id)
        .collect();
    assert!(store.used_bytes() <= 4000);
    let left = ids(root.path());
    assert_eq!(left, kept[8 - left.len()..]);
    assert!(left.len() >= 2);
    let smaller = Store::open(root.path(), &pipeline(), 1500).unwrap();
    assert!(smaller.used_bytes() <= 1500);
    assert_eq!(ids(root.path()), kept[7..]);
}

#[test]
fn damaged_data_are_not_given_out() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    let example = keep(&mut store, b"picture", 5);
    let path = root.path().join("gate").join(format!("{}.jpg", example.id));
    std::fs::write(&path, b"pictura").unwrap();
    let error = read(root.path(), &pipeline(), &example.id).unwrap_err();
    assert!(matches!(error, HardExampleError::Damaged(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// A crash may leave any of the files cut short, missing, or under a temporary name.
    #[test]
    fn whatever_a_crash_leaves_only_whole_examples_are_listed(
        cuts in prop::collection::vec((0..6_usize, 0..3_u8, 0..40_usize), 0..6),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
        let kept: Vec<_> = (0..3).map(|at| keep(&mut store, &[at; 30], u64::from(at))).collect();
        drop(store);
        let mut harmed = std::collections::BTreeSet::new();
        for (file, how, length) in cuts {
            let example = &kept[file / 2];
            let ending = if file % 2 == 0 { "jpg" } else { "json" };
            let path = root.path().join("gate").join(format!("{}.{ending}", example.id));
            let Ok(bytes) = std::fs::read(&path) else { continue };
            match how {
                0 if length < bytes.len() => std::fs::write(&path, &bytes[..length]).unwrap(),
                1 => std::fs::rename(&path, path.with_extension("new")).unwrap(),
                2 => std::fs::remove_file(&path).unwrap(),
                _ => continue,
            }
            harmed.insert(example.id.clone());
        }
        let whole: Vec<_> = kept.iter().map(|e| e.id.clone()).filter(|id| !harmed.contains(id)).collect();
        prop_assert_eq!(ids(root.path()), whole.clone());
        let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
        keep(&mut store, b"new", 100);
        prop_assert_eq!(ids(root.path()).len(), whole.len() + 1);
        let files = std::fs::read_dir(root.path().join("gate")).unwrap().count();
        prop_assert_eq!(files, 2 * (whole.len() + 1));
    }
}
