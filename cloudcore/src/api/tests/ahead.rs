//! What is decided about a node that is ahead of this cloud, and what is not.

use axum::http::{Method, StatusCode};
use fleet_api::{Condition, ConditionStatus, Node, NodeSpec, NodeStatus, Resource, Transport};
use fleet_core::desired::{ADOPT_ANNOTATION, REASSERT_ANNOTATION};
use jiff::Timestamp;
use millwright_proto::Digest;
use millwright_proto::ids::{BootId, Generation, InstanceId, Lineage, NodeUid};
use millwright_proto::link::{Applied, SlotStatus};
use prost::Message as _;
use serde_json::{Value, json};

use super::Server;
use crate::store::{NewNodeIdentity, NewSession};

const UID: NodeUid = NodeUid::from_bytes([7; 16]);

/// What the node reports.
const GENERATION: u64 = 9;

const DECISIONS: [(&str, &str); 2] = [
    ("adopt", ADOPT_ANNOTATION),
    ("reassert", REASSERT_ANNOTATION),
];

/// A cloud that knows `press-1`, which has a condition for `reason`, if there is one, and runs `m@2`; neither the model
/// nor the version is here.
async fn with_node(reason: Option<&str>) -> Server {
    let server = Server::start().await;
    server.create("Site", "sites", "leipzig", json!({})).await;
    let now = Timestamp::now();
    let site = "leipzig".to_owned();
    let mut node = Resource::<Node>::new("press-1", NodeSpec { site });
    node.status = NodeStatus {
        uid: UID.to_string(),
        applied_generation: GENERATION,
        conditions: Vec::from_iter(reason.map(|reason| Condition {
            kind: "AheadOfCloud".to_owned(),
            status: ConditionStatus::True,
            reason: reason.to_owned(),
            message: "the test says so".to_owned(),
            last_transition_time: now,
        })),
        ..NodeStatus::default()
    };
    let slot = SlotStatus {
        model: "m".to_owned(),
        version: "2".to_owned(),
        ..SlotStatus::default()
    };
    let applied = Applied {
        generation: GENERATION,
        slots: vec![slot],
        ..Applied::default()
    };
    let digest = Digest::of(b"from another life");
    let generation = Some((Generation::new(GENERATION), digest));
    let mut write = server.app.store.write().await.unwrap();
    let identity = NewNodeIdentity::press_1(UID, now);
    write.insert_node_identity(&identity, now).await.unwrap();
    write.insert("default", node, now).await.unwrap();
    let session = NewSession {
        uid: UID,
        tenant: "default",
        term: 1,
        secret_current: &[1; 32],
        secret_previous: &[],
        instance: InstanceId::from_bytes([1; 16]),
        boot: BootId::from_bytes([2; 16]),
        lineage: Lineage::from_bytes([3; 16]),
        transport: Transport::Quic,
        agent_version: "0.1.0",
        os: "linux",
        arch: "x86_64",
        onnxruntime: "1.24.0",
        capabilities: &[],
        applied: generation,
    };
    write.begin_session(&session, now).await.unwrap();
    let message = applied.encode_to_vec();
    write.set_applied(UID, generation, &message).await.unwrap();
    write.commit().await.unwrap();
    server
}

async fn decide(server: &Server, action: &str) -> (StatusCode, Value) {
    let path = format!("nodes/press-1/{action}");
    server.call(Method::POST, &path, Value::Null).await
}

/// Decisions about the node in the audit, the newest first.
async fn audited(server: &Server) -> Vec<String> {
    let audit = server.get("audit").await;
    let rows = audit["items"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["object"] == "Node/press-1" && row["outcome"] == "allowed");
    rows.map(|row| row["action"].as_str().unwrap().to_owned())
        .collect()
}

async fn annotations(server: &Server) -> Value {
    server.get("nodes/press-1").await["metadata"]["annotations"].clone()
}

#[tokio::test]
async fn about_a_node_that_is_not_ahead_there_is_nothing_to_decide() {
    let server = with_node(None).await;
    for (action, _) in DECISIONS {
        let (status, problem) = decide(&server, action).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("`press-1` is not ahead of this cloud"),
            "{detail}"
        );
        let path = format!("nodes/press-2/{action}");
        let (status, _) = server.call(Method::POST, &path, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    assert_eq!(annotations(&server).await, Value::Null);
    assert_eq!(audited(&server).await, [""; 0]);
}

#[tokio::test]
async fn a_node_too_far_ahead_is_to_be_enrolled_again() {
    let server = with_node(Some("GenerationOutOfReach")).await;
    for (action, _) in DECISIONS {
        let (status, problem) = decide(&server, action).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        assert_eq!(problem["detail"], "the test says so");
        assert_eq!(problem["hint"], "decommission it and enroll it again");
    }
    assert_eq!(annotations(&server).await, Value::Null);
}

#[tokio::test]
async fn what_is_not_here_cannot_be_adopted_and_is_named() {
    let server = with_node(Some("Restored")).await;
    let (status, problem) = decide(&server, "adopt").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("does not have: m@2"), "{detail}");
    assert_eq!(annotations(&server).await, Value::Null);
    // What the deployments say is here.
    let (status, node) = decide(&server, "reassert").await;
    assert_eq!(status, StatusCode::OK, "{node}");
}

#[tokio::test]
async fn a_decision_is_for_one_generation_told_once_and_replaces_the_other() {
    let server = with_node(Some("Restored")).await;
    let mut write = server.app.store.write().await.unwrap();
    let spec = fleet_api::ModelVersionSpec {
        model: "m".to_owned(),
        version: "2".to_owned(),
        files: Vec::new(),
        bundle: String::new(),
    };
    let version = Resource::<fleet_api::ModelVersion>::new("m@2", spec);
    let inserted = write.insert("default", version, Timestamp::now()).await;
    inserted.unwrap();
    write.commit().await.unwrap();
    let (status, _) = decide(&server, "adopt?dryRun=true").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(annotations(&server).await, Value::Null);
    for (action, annotation) in DECISIONS {
        // The second time it is known already.
        for _ in 0..2 {
            let (status, node) = decide(&server, action).await;
            assert_eq!(status, StatusCode::OK, "{node}");
            assert_eq!(node["metadata"]["annotations"], json!({annotation: "9"}));
        }
    }
    assert_eq!(
        annotations(&server).await,
        json!({REASSERT_ANNOTATION: "9"})
    );
    assert_eq!(audited(&server).await, ["reassert", "adopt"]);
    let events = server.get("events?regarding=Node/press-1").await;
    let events = events["items"].as_array().unwrap().iter();
    let mut reasons: Vec<&Value> = events.map(|event| &event["reason"]).collect();
    reasons.sort_by_key(|reason| reason.to_string());
    assert_eq!(reasons, ["NodeAdopted", "NodeReasserted"]);
}
