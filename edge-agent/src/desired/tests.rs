use std::fs;

use millwright_proto::link::{self, DesiredDocument, ModelSlot, PackageFile};
use prost::Message;

use super::*;

fn document(version: &str) -> Bytes {
    let digest = Digest::from_sha256([7; 32]);
    DesiredDocument {
        models: vec![ModelSlot {
            model: "detector".to_owned(),
            version: version.to_owned(),
            bundle: Bytes::from_static(b"{}"),
            files: vec![PackageFile {
                path: "model.yaml".to_owned(),
                digest: Some(link::Digest::from(digest)),
                size_bytes: 10,
            }],
            prove_for_ms: 30_000,
            allow_gap: false,
        }],
        pipelines: Vec::new(),
        summary_window_ms: 5_000,
    }
    .encode_to_vec()
    .into()
}

fn store(dir: &std::path::Path) -> (DesiredStore, Vec<Damage>) {
    DesiredStore::open(&Layout::at(dir))
}

fn offer(
    store: &mut DesiredStore,
    generation: u64,
    bytes: Bytes,
) -> Result<Adoption, DesiredError> {
    store.offer(Generation::new(generation), Digest::of(&bytes), bytes)
}

fn in_force(store: &DesiredStore) -> u64 {
    store
        .in_force()
        .map_or(0, |current| current.generation.get())
}

#[test]
fn stored_bytes_are_the_golden_ones() {
    let record = Record {
        generation: Generation::new(17),
        digest: Digest::of(b"document"),
        bytes: Bytes::from_static(b"document"),
    };
    let golden = include_bytes!("../../golden/desired-v1.bin");
    assert_eq!(record.encode(), golden);
    assert_eq!(Record::decode(golden), Ok(record));
}

#[test]
fn what_was_adopted_is_in_force_after_a_restart_and_older_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = store(dir.path());
    offer(&mut first, 17, document("1.0.0")).unwrap();
    assert!(matches!(
        offer(&mut first, 17, document("1.0.0")),
        Ok(Adoption::Unchanged)
    ));
    drop(first);
    let (mut again, damages) = store(dir.path());
    assert_eq!((in_force(&again), damages.len()), (17, 0));
    let plan = &again.in_force().unwrap().plan;
    assert_eq!(plan.summary_window.unwrap().as_secs(), 5);
    let error = offer(&mut again, 16, document("2.0.0")).unwrap_err();
    assert!(
        matches!(
            error,
            DesiredError::Refused {
                source: Refusal::Older { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(in_force(&again), 17);
}

#[test]
fn each_single_damaged_byte_of_one_copy_is_noticed_and_repaired_from_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = store(dir.path());
    offer(&mut first, 3, document("1.0.0")).unwrap();
    let paths = Layout::at(dir.path()).desired();
    let good = fs::read(&paths[0]).unwrap();
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        fs::write(&paths[at % 2], &damaged).unwrap();
        let (again, damages) = store(dir.path());
        assert_eq!((in_force(&again), damages.len()), (3, 1), "byte {at}");
        assert_eq!(fs::read(&paths[at % 2]).unwrap(), good);
    }
    for length in 0..good.len() {
        assert!(Record::decode(&good[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_crash_between_the_two_files_keeps_the_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = store(dir.path());
    offer(&mut first, 1, document("1.0.0")).unwrap();
    let paths = Layout::at(dir.path()).desired();
    let old = fs::read(&paths[1]).unwrap();
    offer(&mut first, 2, document("2.0.0")).unwrap();
    fs::write(&paths[1], old).unwrap();
    let (again, damages) = store(dir.path());
    assert_eq!((in_force(&again), damages.len()), (2, 0));
    assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
}

#[test]
fn an_unreadable_document_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = store(dir.path());
    offer(&mut store, 1, document("1.0.0")).unwrap();
    for bad in [document("../escape"), Bytes::from_static(b"\xff\xff\xff")] {
        let error = offer(&mut store, 2, bad).unwrap_err();
        assert!(matches!(error, DesiredError::Document { .. }), "{error:?}");
    }
    assert_eq!(in_force(&store), 1);
}
