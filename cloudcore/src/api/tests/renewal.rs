//! A node gets a new certificate for its identity key, whatever became of the old one, and nobody else does.

use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{Timestamp, ToSpan as _};
use millwright_identity::{NodeIdentity, Validity, renewal_statement};
use millwright_proto::ids::NodeUid;
use millwright_proto::link::{EnrollRequest, RenewRequest, RenewResponse, renew_response};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use super::Server;
use crate::api::failure::Failure;
use crate::enroll::{DialledHost, enroll};
use crate::renew::renew;

const UID: NodeUid = NodeUid::from_bytes([1; 16]);

/// An enrolled device.
struct Device {
    identity: KeyPair,
}

fn csr() -> Vec<u8> {
    // A device may ask for any name; it does not get it.
    let params = CertificateParams::new(["cloudcore.millwright.internal".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

impl Device {
    async fn enroll(server: &Server, now: Timestamp) -> Self {
        server.create("Site", "sites", "ulm", json!({})).await;
        let spec = json!({"site": "ulm"});
        let token = server.create("JoinToken", "jointokens", "t", spec).await;
        let token = token["status"]["token"].as_str().unwrap();
        let token: millwright_identity::JoinToken = token.parse().unwrap();
        let (identity, csr) = (KeyPair::generate().unwrap(), csr());
        let request = EnrollRequest {
            token_id: token.id.clone(),
            token_secret: token.secret.expose().to_owned(),
            node: "press-1".to_owned(),
            node_uid: UID.as_bytes().to_vec().into(),
            identity_public_key: identity.subject_public_key_info().into(),
            identity_proof: identity.sign(&csr).unwrap().into(),
            csr: csr.into(),
            labels: [].into(),
        };
        let host = DialledHost("cloud.example".to_owned());
        enroll(&server.app, &request, &host, now).await.unwrap();
        Self { identity }
    }

    fn answer(&self, challenge: Vec<u8>) -> RenewRequest {
        let csr = csr();
        let statement = renewal_statement(UID, &challenge, &csr);
        RenewRequest {
            node_uid: UID.as_bytes().to_vec().into(),
            identity_proof: self.identity.sign(&statement).unwrap().into(),
            challenge: challenge.into(),
            csr: csr.into(),
        }
    }

    async fn renew(&self, server: &Server, now: Timestamp) -> Result<Vec<u8>, Failure> {
        let challenge = challenge(server, UID, now).await;
        leaf(renew(&server.app, &self.answer(challenge), now).await)
    }
}

async fn challenge(server: &Server, uid: NodeUid, now: Timestamp) -> Vec<u8> {
    let ask = RenewRequest {
        node_uid: uid.as_bytes().to_vec().into(),
        ..RenewRequest::default()
    };
    let response = renew(&server.app, &ask, now).await.unwrap();
    let told = i64::try_from(response.server_time_ms).unwrap();
    assert_eq!(told, now.as_millisecond());
    match response.body.unwrap() {
        renew_response::Body::Challenge(challenge) => challenge.to_vec(),
        renew_response::Body::Certificate(certificate) => panic!("{certificate:?}"),
    }
}

fn leaf(response: Result<RenewResponse, Failure>) -> Result<Vec<u8>, Failure> {
    match response?.body.unwrap() {
        renew_response::Body::Certificate(certificate) => Ok(certificate.chain[0].to_vec()),
        renew_response::Body::Challenge(challenge) => panic!("{challenge:?}"),
    }
}

fn kind(refused: Result<Vec<u8>, Failure>) -> &'static str {
    refused.unwrap_err().kind.name()
}

fn months_after(time: Timestamp, months: i64) -> Timestamp {
    time + (months * 30 * 24).hours()
}

#[tokio::test]
async fn a_certificate_that_ran_out_months_ago_is_renewed_without_a_person() {
    let server = Server::start().await;
    let enrolled = Timestamp::now();
    let device = Device::enroll(&server, enrolled).await;
    let first = server.get("nodes/press-1").await["status"]["certificateExpires"].clone();
    for months in [1, 3, 12, 36] {
        let now = months_after(enrolled, months + 1);
        let leaf = device.renew(&server, now).await.unwrap();
        let identity = NodeIdentity::from_certificate(&leaf).unwrap();
        assert_eq!((identity.uid, identity.node.as_str()), (UID, "press-1"));
        let validity = Validity::of_certificate(&leaf).unwrap();
        let now_s = now.as_second().unsigned_abs();
        assert!(validity.not_before < now_s && now_s < validity.not_after);
        assert_eq!(validity.not_after - now_s, 30 * 86_400);
    }
    let node = server.get("nodes/press-1").await;
    assert_ne!(node["status"]["certificateExpires"], first);
    let audit = server.get("audit?limit=1").await;
    assert_eq!(audit["items"][0]["action"], "renew");
    assert_eq!(audit["items"][0]["actor"], "renewal");
    let events = server.get("events?regarding=Node/press-1").await;
    let told = events["items"].as_array().unwrap().iter();
    let told = told.filter(|event| event["reason"] == "NodeCertificateRenewed");
    assert_eq!(told.count(), 4);
}

#[tokio::test]
async fn a_revoked_node_never_gets_one_not_even_with_a_challenge_from_before() {
    let server = Server::start().await;
    let now = Timestamp::now();
    let device = Device::enroll(&server, now).await;
    let early = device.answer(challenge(&server, UID, now).await);
    let path = "nodes/press-1/revoke";
    server.call(Method::POST, path, Value::Null).await;
    assert_eq!(
        kind(leaf(renew(&server.app, &early, now).await)),
        "node-revoked"
    );
    for months in [0, 1, 3, 12, 36] {
        let refused = device.renew(&server, months_after(now, months)).await;
        assert_eq!(kind(refused), "node-revoked");
    }
    let path = "nodes/press-1/decommission";
    server.call(Method::POST, path, Value::Null).await;
    let refused = device.renew(&server, now).await.unwrap_err();
    assert!(refused.detail().contains("decommissioned"), "{refused:?}");
}

#[tokio::test]
async fn a_recorded_renewal_is_worth_nothing() {
    let server = Server::start().await;
    let now = Timestamp::now();
    let device = Device::enroll(&server, now).await;
    let recorded = device.answer(challenge(&server, UID, now).await);
    leaf(renew(&server.app, &recorded, now).await).unwrap();
    let again = leaf(renew(&server.app, &recorded, now).await);
    assert_eq!(kind(again), "challenge-void");
    // Another request under the same challenge is no better.
    let another = device.answer(recorded.challenge.to_vec());
    let again = leaf(renew(&server.app, &another, now + 30.seconds()).await);
    assert_eq!(kind(again), "challenge-void");
}

#[tokio::test]
async fn a_challenge_is_for_one_node_one_minute_and_one_server() {
    let (server, other) = (Server::start().await, Server::start().await);
    let now = Timestamp::now();
    let device = Device::enroll(&server, now).await;
    let refused = async |challenge: Vec<u8>, at: Timestamp| {
        kind(leaf(
            renew(&server.app, &device.answer(challenge), at).await,
        ))
    };
    let good = challenge(&server, UID, now).await;
    assert_eq!(
        refused(good.clone(), now + 61.seconds()).await,
        "challenge-void"
    );
    assert_eq!(
        refused(good.clone(), now - 1.second()).await,
        "challenge-void"
    );
    assert_eq!(refused(good[1..].to_vec(), now).await, "challenge-void");
    for at in [0, 16, 23, 24, good.len() - 1] {
        let mut forged = good.clone();
        forged[at] ^= 1;
        assert_eq!(refused(forged, now).await, "challenge-void", "{at}");
    }
    let of_another = challenge(&server, NodeUid::from_bytes([2; 16]), now).await;
    assert_eq!(refused(of_another, now).await, "challenge-void");
    let elsewhere = challenge(&other, UID, now).await;
    assert_eq!(refused(elsewhere, now).await, "challenge-void");
    let in_time = device.answer(good);
    leaf(renew(&server.app, &in_time, now + 60.seconds()).await).unwrap();
}

#[tokio::test]
async fn only_the_registered_identity_key_over_this_very_request_counts() {
    let server = Server::start().await;
    let now = Timestamp::now();
    let device = Device::enroll(&server, now).await;
    let stranger = Device {
        identity: KeyPair::generate().unwrap(),
    };
    assert_eq!(kind(stranger.renew(&server, now).await), "proof-failed");
    let refused = async |change: fn(&mut RenewRequest)| {
        let mut request = device.answer(challenge(&server, UID, now).await);
        change(&mut request);
        kind(leaf(renew(&server.app, &request, now).await))
    };
    assert_eq!(refused(|r| r.csr = csr().into()).await, "proof-failed");
    assert_eq!(refused(|r| r.identity_proof.clear()).await, "proof-failed");
    // The signature of an enrollment is none of a renewal.
    let mut old = device.answer(challenge(&server, UID, now).await);
    old.identity_proof = device.identity.sign(&old.csr).unwrap().into();
    assert_eq!(
        kind(leaf(renew(&server.app, &old, now).await)),
        "proof-failed"
    );
    // An unknown uid reads as a wrong key does.
    let nobody = NodeUid::from_bytes([9; 16]);
    let mut unknown = device.answer(challenge(&server, nobody, now).await);
    unknown.node_uid = nobody.as_bytes().to_vec().into();
    assert_eq!(
        kind(leaf(renew(&server.app, &unknown, now).await)),
        "proof-failed"
    );
    // A request that is none for a certificate is refused after the proof, and nothing is issued.
    let mut broken = device.answer(challenge(&server, UID, now).await);
    broken.csr = b"rubbish".to_vec().into();
    let statement = renewal_statement(UID, &broken.challenge, &broken.csr);
    broken.identity_proof = device.identity.sign(&statement).unwrap().into();
    assert_eq!(
        kind(leaf(renew(&server.app, &broken, now).await)),
        "proof-failed"
    );
    let audit = server.get("audit").await;
    let rows = audit["items"].as_array().unwrap().iter();
    assert_eq!(rows.filter(|row| row["action"] == "renew").count(), 0);
}

#[tokio::test]
async fn a_node_that_renews_again_and_again_is_slowed_down_for_an_hour() {
    let server = Server::start().await;
    let now = Timestamp::now();
    let device = Device::enroll(&server, now).await;
    for _ in 0..20 {
        device.renew(&server, now).await.unwrap();
    }
    assert_eq!(kind(device.renew(&server, now).await), "too-often");
    let later = now + 59.minutes();
    assert_eq!(kind(device.renew(&server, later).await), "too-often");
    device.renew(&server, now + 61.minutes()).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_clock_is_set_back_locks_nobody_out() {
    let server = Server::start().await;
    let now = Timestamp::now();
    let device = Device::enroll(&server, now).await;
    for _ in 0..20 {
        device.renew(&server, months_after(now, 24)).await.unwrap();
    }
    device.renew(&server, now).await.unwrap();
}

#[tokio::test]
async fn over_http_refusals_are_problems_and_are_audited() {
    let server = Server::start().await;
    let device = Device::enroll(&server, Timestamp::now()).await;
    let send = async |body: Vec<u8>| {
        let response = server
            .send(server.request(Method::POST, "renew", body))
            .await;
        let status = response.status();
        (
            status,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    };
    let ask = RenewRequest {
        node_uid: UID.as_bytes().to_vec().into(),
        ..RenewRequest::default()
    };
    let (status, body) = send(ask.encode_to_vec()).await;
    assert_eq!(status, StatusCode::OK);
    let challenge = match RenewResponse::decode(body).unwrap().body.unwrap() {
        renew_response::Body::Challenge(challenge) => challenge,
        renew_response::Body::Certificate(certificate) => panic!("{certificate:?}"),
    };
    let mut request = device.answer(challenge.to_vec());
    request.identity_proof = vec![1].into();
    let (status, body) = send(request.encode_to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["type"], "urn:millwright:problem:proof-failed");
    assert_eq!(problem["field"], "identity_proof");
    let (status, _) = send(vec![0xff]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let audit = server.get("audit?limit=1").await;
    assert_eq!(audit["items"][0]["action"], "renew");
    assert_eq!(audit["items"][0]["outcome"], "refused");
    assert_eq!(
        audit["items"][0]["object"],
        format!("Node/{}", "01".repeat(16))
    );
}
