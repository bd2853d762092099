//! Devices get in with a good token, and only then.

use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use millwright_identity::{JoinToken, NodeIdentity, RootPin};
use millwright_proto::ids::NodeUid;
use millwright_proto::link::{EnrollRequest, EnrollResponse};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use super::Server;

async fn token(server: &Server, name: &str, spec: Value) -> JoinToken {
    let created = server.create("JoinToken", "jointokens", name, spec).await;
    created["status"]["token"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn request(token: &JoinToken, node: &str, uid: u8) -> EnrollRequest {
    let (identity, tls) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    // A device may ask for any name; it does not get it.
    let params = CertificateParams::new(["cloudcore.millwright.internal".to_owned()]).unwrap();
    let csr = params.serialize_request(&tls).unwrap().der().to_vec();
    EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.expose().to_owned(),
        node: node.to_owned(),
        node_uid: vec![uid; 16].into(),
        identity_public_key: identity.subject_public_key_info().into(),
        identity_proof: identity.sign(&csr).unwrap().into(),
        csr: csr.into(),
        labels: [("line".to_owned(), "press".to_owned())].into(),
    }
}

async fn enroll(server: &Server, request: &EnrollRequest) -> Result<EnrollResponse, Value> {
    let request = server.request(Method::POST, "enroll", request.encode_to_vec());
    let response = server.send(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    match status {
        StatusCode::OK => Ok(EnrollResponse::decode(body).unwrap()),
        _ => Err(serde_json::from_slice(&body).unwrap()),
    }
}

fn kind(result: Result<EnrollResponse, Value>) -> String {
    let problem = result.unwrap_err();
    let kind = problem["type"].as_str().unwrap();
    kind.rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_device_with_a_token_becomes_a_node_named_by_its_certificate() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let token = token(&server, "t", json!({"site": "ulm"})).await;
    let response = enroll(&server, &request(&token, "press-1", 1))
        .await
        .unwrap();
    assert_eq!(
        RootPin::of_certificate(&response.root).unwrap(),
        token.root_pin
    );
    assert_eq!(response.quic_address, "cloud.example:3");
    assert_eq!(response.websocket_address, "cloud.example:2");
    let identity = NodeIdentity::from_certificate(&response.certificate_chain[0]).unwrap();
    assert_eq!(identity.site.as_str(), "ulm");
    assert_eq!(identity.node.as_str(), "press-1");
    assert_eq!(identity.uid, NodeUid::from_bytes([1; 16]));
    let node = server.get("nodes/press-1").await;
    assert_eq!(node["status"]["phase"], "Enrolled");
    assert_eq!(node["metadata"]["labels"]["line"], "press");
    assert_eq!(server.get("sites/ulm").await["status"]["nodes"], 1);
    assert_eq!(server.get("jointokens/t").await["status"]["usesLeft"], 0);
    let events = server.get("events?regarding=Node/press-1").await;
    assert_eq!(events["items"][0]["reason"], "NodeEnrolled");
    let audit = server.get("audit?limit=1").await;
    assert_eq!(audit["items"][0]["action"], "enroll");
    assert_eq!(audit["items"][0]["actor"], "enrollment");
}

#[tokio::test]
async fn each_bad_token_is_refused_for_its_own_reason() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let used = token(&server, "used", json!({"site": "ulm"})).await;
    enroll(&server, &request(&used, "a", 1)).await.unwrap();
    assert_eq!(
        kind(enroll(&server, &request(&used, "b", 2)).await),
        "token-used-up"
    );
    let revoked = token(&server, "revoked", json!({"site": "ulm"})).await;
    server
        .call(Method::POST, "jointokens/revoked/revoke", Value::Null)
        .await;
    assert_eq!(
        kind(enroll(&server, &request(&revoked, "b", 2)).await),
        "token-revoked"
    );
    let mut guessed = request(&used, "b", 2);
    guessed.token_secret = revoked.secret.expose().to_owned();
    assert_eq!(kind(enroll(&server, &guessed).await), "token-unknown");
    let expired = token(&server, "expired", json!({"site": "ulm", "ttlSeconds": 1})).await;
    let later = jiff::Timestamp::now() + std::time::Duration::from_secs(2);
    let dialled = crate::enroll::DialledHost("x".to_owned());
    let refused =
        crate::enroll::enroll(&server.app, &request(&expired, "b", 2), &dialled, later).await;
    assert!(refused.unwrap_err().detail().contains("ended at"));
    let audit = server.get("audit").await;
    let rows = audit["items"].as_array().unwrap().iter();
    let refused = rows.filter(|row| row["action"] == "enroll" && row["outcome"] == "refused");
    assert_eq!(refused.count(), 3);
}

#[tokio::test]
async fn a_device_must_hold_both_keys_and_a_free_name() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let token = token(&server, "t", json!({"site": "ulm", "uses": 5})).await;
    enroll(&server, &request(&token, "a", 1)).await.unwrap();
    assert_eq!(
        kind(enroll(&server, &request(&token, "a", 2)).await),
        "node-name-taken"
    );
    assert_eq!(
        kind(enroll(&server, &request(&token, "b", 1)).await),
        "node-name-taken"
    );
    let mut foreign = request(&token, "b", 2);
    foreign.identity_proof = request(&token, "b", 2).identity_proof;
    assert_eq!(kind(enroll(&server, &foreign).await), "proof-failed");
    let mut broken = request(&token, "b", 2);
    let key = KeyPair::generate().unwrap();
    let mut csr = broken.csr.to_vec();
    *csr.last_mut().unwrap() ^= 1;
    broken.identity_public_key = key.subject_public_key_info().into();
    broken.identity_proof = key.sign(&csr).unwrap().into();
    broken.csr = csr.into();
    assert_eq!(kind(enroll(&server, &broken).await), "proof-failed");
    assert_eq!(server.get("jointokens/t").await["status"]["usesLeft"], 4);
}

#[tokio::test]
async fn a_device_that_missed_the_answer_may_ask_again() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let token = token(&server, "t", json!({"site": "ulm"})).await;
    let asked = request(&token, "press-1", 1);
    let first = enroll(&server, &asked).await.unwrap();
    let again = enroll(&server, &asked).await.unwrap();
    assert_ne!(first.certificate_chain[0], again.certificate_chain[0]);
    assert_eq!(server.get("jointokens/t").await["status"]["usesLeft"], 0);
    assert_eq!(server.get("sites/ulm").await["status"]["nodes"], 1);
    let events = server.get("events?regarding=Node/press-1").await;
    let reasons: Vec<_> = events["items"].as_array().unwrap().iter().collect();
    let told = |reason: &str| reasons.iter().filter(|e| e["reason"] == reason).count();
    assert_eq!(
        (told("NodeEnrolled"), told("NodeCertificateReissued")),
        (1, 1)
    );
    // Another key under the same uid is another device.
    let impostor = request(&token, "press-1", 1);
    assert_eq!(kind(enroll(&server, &impostor).await), "token-used-up");
    server
        .call(Method::POST, "nodes/press-1/revoke", Value::Null)
        .await;
    assert_eq!(kind(enroll(&server, &asked).await), "token-used-up");
}

#[tokio::test]
async fn decommissioning_frees_the_name_and_tells_the_hub() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let token = token(&server, "t", json!({"site": "ulm", "uses": 2})).await;
    enroll(&server, &request(&token, "a", 1)).await.unwrap();
    let mut revoked = server.app.signals.revoked.subscribe();
    server
        .call(Method::POST, "nodes/a/revoke", Value::Null)
        .await;
    assert_eq!(revoked.recv().await.unwrap(), NodeUid::from_bytes([1; 16]));
    assert_eq!(
        kind(enroll(&server, &request(&token, "a", 2)).await),
        "node-name-taken"
    );
    let (status, _) = server.call(Method::DELETE, "nodes/a", Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    server
        .call(Method::POST, "nodes/a/decommission", Value::Null)
        .await;
    assert_eq!(server.get("sites/ulm").await["status"]["nodes"], 0);
    enroll(&server, &request(&token, "a", 2)).await.unwrap();
    let node = server.get("nodes/a").await;
    assert_eq!(node["status"]["uid"], "02".repeat(16));
    assert_eq!(node["status"]["phase"], "Enrolled");
}
