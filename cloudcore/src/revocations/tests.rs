//! Who was revoked after a backup stays so when that backup is restored.

use std::fs;
use std::path::Path;

use fleet_api::{Node, NodePhase, NodeStatus, Resource};
use jiff::Timestamp;
use millwright_identity::TrustDomain;
use millwright_proto::ids::NodeUid;

use super::*;
use crate::backup::{backup, restore};
use crate::pki::Authority;
use crate::store::NewNodeIdentity;

const REVOKED: NodeUid = NodeUid::from_bytes([1; 16]);
const OTHER: NodeUid = NodeUid::from_bytes([2; 16]);

/// A data directory with two nodes, the first of them `press-1`.
async fn filled(dir: &Path) -> Store {
    fs::create_dir(dir).unwrap();
    let fleet: TrustDomain = "f.example".parse().unwrap();
    let now = Timestamp::now();
    Authority::open(&dir.join("pki"), &fleet, now).unwrap();
    let store = Store::open(dir).await.unwrap();
    let mut write = store.write().await.unwrap();
    let first = NewNodeIdentity::press_1(REVOKED, now);
    write.insert_node_identity(&first, now).await.unwrap();
    let other = NewNodeIdentity {
        name: "press-2",
        ..NewNodeIdentity::press_1(OTHER, now)
    };
    write.insert_node_identity(&other, now).await.unwrap();
    let mut node = Resource::<Node>::new("press-1", fleet_api::NodeSpec::default());
    node.status = NodeStatus {
        uid: REVOKED.to_string(),
        ..NodeStatus::default()
    };
    write.insert("default", node, now).await.unwrap();
    write.commit().await.unwrap();
    store
}

async fn phase(store: &Store, uid: NodeUid) -> NodePhase {
    store.registered_node(uid).await.unwrap().unwrap().phase
}

#[tokio::test]
async fn a_node_revoked_after_the_backup_stays_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let now = Timestamp::now();
    filled(&at("data")).await.close().await;
    backup(&at("data"), &at("copy")).await.unwrap();
    append(&at("data"), REVOKED, NodePhase::Revoked, now).unwrap();

    restore(&at("copy"), &at("forgetful"), None).await.unwrap();
    let store = Store::open(&at("forgetful")).await.unwrap();
    apply(&store, &at("forgetful"), now).await.unwrap();
    assert_eq!(phase(&store, REVOKED).await, NodePhase::Enrolled);

    let file = at("data").join(FILE_NAME);
    restore(&at("copy"), &at("new"), Some(&file)).await.unwrap();
    let store = Store::open(&at("new")).await.unwrap();
    apply(&store, &at("new"), now).await.unwrap();
    assert_eq!(phase(&store, REVOKED).await, NodePhase::Revoked);
    assert_eq!(phase(&store, OTHER).await, NodePhase::Enrolled);
    let node = store.find::<Node>("default", "press-1").await.unwrap();
    assert_eq!(node.unwrap().status.phase, NodePhase::Revoked);
}

#[tokio::test]
async fn the_file_is_rewritten_from_the_store_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = filled(&data).await;
    let now = Timestamp::now();
    for _ in 0..3 {
        append(&data, REVOKED, NodePhase::Revoked, now).unwrap();
    }
    append(&data, REVOKED, NodePhase::Decommissioned, now).unwrap();
    let unknown = NodeUid::from_bytes([9; 16]);
    append(&data, unknown, NodePhase::Revoked, now).unwrap();
    apply(&store, &data, now).await.unwrap();
    let text = fs::read_to_string(data.join(FILE_NAME)).unwrap();
    assert_eq!(
        text,
        format!("{REVOKED} decommissioned {now}\n{unknown} revoked {now}\n")
    );
    assert_eq!(phase(&store, REVOKED).await, NodePhase::Decommissioned);
}

#[tokio::test]
async fn a_line_cut_off_by_a_crash_is_left_out_and_a_damaged_one_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = filled(&data).await;
    let now = Timestamp::now();
    let file = data.join(FILE_NAME);
    append(&data, REVOKED, NodePhase::Revoked, now).unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}{}", &whole[..20])).unwrap();
    assert!(carried_over(&file).is_ok());
    fs::write(&file, format!("what\n{whole}")).unwrap();
    let refused = carried_over(&file);
    assert!(matches!(
        refused,
        Err(RevocationsError::Damaged { line: 1, .. })
    ));
    apply(&store, &data, now).await.unwrap();
    assert_eq!(phase(&store, REVOKED).await, NodePhase::Revoked);
}
