use fleet_api::{JoinTokenSpec, Resource, Severity};
use millwright_proto::Digest;

use super::*;
use crate::store::{NewEvent, StoredJoinToken};

const TENANT: &str = "default";

async fn token(store: &Store, name: &str, expires: Timestamp) {
    let mut write = store.write().await.unwrap();
    let spec = JoinTokenSpec {
        site: "leipzig".to_owned(),
        uses: 1,
        ttl_seconds: 600,
    };
    let resource = Resource::<JoinToken>::new(name, spec);
    let now = Timestamp::now();
    write.insert(TENANT, resource, now).await.unwrap();
    let stored = StoredJoinToken {
        id: name.to_owned(),
        tenant: TENANT.to_owned(),
        name: name.to_owned(),
        site: "leipzig".to_owned(),
        secret_hash: Digest::of(b"secret"),
        uses_left: 1,
        expires,
        revoked: false,
    };
    write.insert_join_token(&stored).await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test]
async fn ended_join_tokens_go_with_an_audit_row_and_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let now = Timestamp::now();
    token(&store, "old", now - TOKENS_KEPT - Duration::from_secs(1)).await;
    token(&store, "ended", now - Duration::from_secs(1)).await;
    round(&store, now).await.unwrap();
    let old = store.find::<JoinToken>(TENANT, "old").await.unwrap();
    assert!(old.is_none());
    let ended = store.find::<JoinToken>(TENANT, "ended").await.unwrap();
    assert!(ended.is_some());
    let audit = store.audit(TENANT, None, 10).await.unwrap();
    let told: Vec<_> = audit
        .iter()
        .map(|row| (&row.actor[..], &row.object[..]))
        .collect();
    assert_eq!(told, [("expiry", "JoinToken/old")]);
}

#[tokio::test]
async fn only_the_newest_events_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    for number in 0..5 {
        let event = NewEvent {
            tenant: TENANT,
            time: Timestamp::now(),
            severity: Severity::Normal,
            reason: "Test",
            message: &number.to_string(),
            regarding: "Node/press-1",
        };
        let mut write = store.write().await.unwrap();
        write.event(&event).await.unwrap();
        write.commit().await.unwrap();
    }
    let retention = Retention {
        windows_before: Timestamp::UNIX_EPOCH,
        events_max: 2,
        lineages_before: Timestamp::UNIX_EPOCH,
        rows_max: 2,
    };
    assert_eq!(store.drop_old(&retention).await.unwrap(), 2);
    assert_eq!(store.drop_old(&retention).await.unwrap(), 1);
    let left = store.events(TENANT, 0, None, 10).await.unwrap();
    let left: Vec<_> = left.iter().map(|event| &event.message[..]).collect();
    assert_eq!(left, ["3", "4"]);
}
