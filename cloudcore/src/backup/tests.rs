//! A backup restores to the same content in another life, or not at all.

use std::fs;

use bytes::Bytes;
use fleet_api::{Resource, Site, SiteSpec};
use futures_util::stream;
use jiff::Timestamp;
use millwright_identity::TrustDomain;
use millwright_proto::Digest;
use millwright_proto::ids::Incarnation;

use super::{BackupError, backup, restore};
use crate::pki::Authority;
use crate::registry::Registry;
use crate::store::{Store, StoreIdentity};

const TENANT: &str = "default";

fn identity() -> StoreIdentity {
    StoreIdentity {
        fleet: "f.example".to_owned(),
        incarnation: Incarnation::from_bytes([7; 16]),
    }
}

/// A data directory with one site and one blob, whose store stays open.
async fn filled(dir: &std::path::Path) -> Store {
    let store = Store::open(dir).await.unwrap();
    store.identity(identity()).await.unwrap();
    let fleet: TrustDomain = "f.example".parse().unwrap();
    Authority::open(&dir.join("pki"), &fleet, Timestamp::now()).unwrap();
    let registry = Registry::open(dir).await.unwrap();
    let digest = Digest::of(b"onnx");
    let body = stream::iter([Ok::<_, String>(Bytes::from_static(b"onnx"))]);
    registry.store(digest, body).await.unwrap();
    let mut write = store.write().await.unwrap();
    let now = Timestamp::now();
    write.insert_blob(TENANT, digest, 4, now).await.unwrap();
    let site = Resource::<Site>::new("ulm", SiteSpec::default());
    write.insert(TENANT, site, now).await.unwrap();
    write.commit().await.unwrap();
    store
}

#[tokio::test]
async fn a_backup_of_an_open_store_restores_to_another_life_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, new) = (
        dir.path().join("data"),
        dir.path().join("copy"),
        dir.path().join("new"),
    );
    fs::create_dir(&data).unwrap();
    let _open = filled(&data).await;
    backup(&data, &copy).await.unwrap();
    restore(&copy, &new, None).await.unwrap();
    let store = Store::open(&new).await.unwrap();
    assert!(store.find::<Site>(TENANT, "ulm").await.unwrap().is_some());
    let restored = store.identity(identity()).await.unwrap();
    assert_eq!(restored.fleet, "f.example");
    assert_ne!(restored.incarnation, identity().incarnation);
    let registry = Registry::open(&new).await.unwrap();
    assert_eq!(
        registry.read_small(Digest::of(b"onnx"), 10).await.unwrap(),
        b"onnx"
    );
    let root = |dir: &std::path::Path| fs::read(dir.join("pki/root.key.pem")).unwrap();
    assert_eq!(root(&data), root(&new));
}

#[tokio::test]
async fn a_damaged_or_incomplete_backup_restores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, new) = (
        dir.path().join("data"),
        dir.path().join("copy"),
        dir.path().join("new"),
    );
    fs::create_dir(&data).unwrap();
    filled(&data).await;
    backup(&data, &copy).await.unwrap();
    let key = copy.join("pki/root.key.pem");
    let good = fs::read(&key).unwrap();
    fs::write(&key, "other").unwrap();
    assert!(matches!(
        restore(&copy, &new, None).await,
        Err(BackupError::Damaged(_))
    ));
    assert!(!new.exists());
    assert!(!dir.path().join("new.restoring").exists());
    fs::remove_file(&key).unwrap();
    assert!(matches!(
        restore(&copy, &new, None).await,
        Err(BackupError::Incomplete(_))
    ));
    fs::write(&key, good).unwrap();
    fs::write(copy.join("stray"), "").unwrap();
    assert!(matches!(
        restore(&copy, &new, None).await,
        Err(BackupError::Incomplete(_))
    ));
    fs::remove_file(copy.join("stray")).unwrap();
    fs::remove_file(copy.join("checksums")).unwrap();
    assert!(matches!(
        restore(&copy, &new, None).await,
        Err(BackupError::NoBackup(_))
    ));
}

#[tokio::test]
async fn nothing_that_exists_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    fs::create_dir(&data).unwrap();
    filled(&data).await;
    backup(&data, &copy).await.unwrap();
    assert!(matches!(
        backup(&data, &copy).await,
        Err(BackupError::NotEmpty(_))
    ));
    assert!(matches!(
        restore(&copy, &data, None).await,
        Err(BackupError::NotEmpty(_))
    ));
}

#[tokio::test]
async fn what_is_no_data_directory_is_not_copied_and_no_copy_is_kept_inside_one() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    fs::create_dir(&data).unwrap();
    assert!(matches!(
        backup(&data, &copy).await,
        Err(BackupError::NoDataDir(_))
    ));
    assert!(
        !copy.exists(),
        "nothing is left of a backup that was refused"
    );
    filled(&data).await;
    let inside = data.join("below/copy");
    assert!(matches!(
        backup(&data, &inside).await,
        Err(BackupError::Inside(_))
    ));
    assert!(!inside.exists());
}
