//! What the hub does about nodes that may not be there, on a real store.

use fleet_api::{NodePhase, Transport};
use millwright_identity::NodeIdentity;
use millwright_proto::Digest;
use millwright_proto::ids::{InstanceId, Lineage};
use millwright_proto::link::{FenceReason, downlink};

use super::*;
use crate::api::tests::Server;
use crate::store::NewNodeIdentity;

const UID: NodeUid = NodeUid::from_bytes([7; 16]);

struct Fixture {
    hub: Hub,
    server: Server,
    _stop: watch::Sender<bool>,
}

impl Fixture {
    /// A hub of a fleet with one node, which nobody has connected to yet.
    async fn new() -> Self {
        let server = Server::start().await;
        let app = &server.app;
        let now = jiff::Timestamp::now();
        let mut write = app.store.write().await.unwrap();
        let node = NewNodeIdentity {
            uid: UID,
            tenant: "default",
            site: "leipzig",
            name: "press-1",
            identity_key: b"key",
            certificate_serial: b"1",
            certificate_expires: now,
        };
        write.insert_node_identity(&node, now).await.unwrap();
        write.commit().await.unwrap();
        let (ingest, writer) = Ingest::open(app.store.clone(), Arc::clone(&app.signals));
        tokio::spawn(writer);
        let (stop, shutdown) = watch::channel(false);
        let hub = Hub {
            parts: HubParts {
                store: app.store.clone(),
                registry: app.registry.clone(),
                ingest,
                refusals: Refusals::default(),
                signals: Arc::clone(&app.signals),
                asks: Arc::clone(&app.asks),
                credentials: Arc::clone(app.pki.credentials()),
                incarnation: app.incarnation,
                reset_key: [0; 64],
                recall: Vec::new(),
            },
            live: Mutex::default(),
            shutdown,
        };
        Self {
            hub,
            server,
            _stop: stop,
        }
    }

    fn enter(&self) -> watch::Receiver<Orders> {
        let session = SessionKey {
            uid: UID,
            term: 1,
            lineage: Lineage::from_bytes([1; 16]),
        };
        self.hub.enter(&session, InstanceId::from_bytes([1; 16]))
    }

    /// Without any signal, as if it had been lost.
    async fn revoke(&self) {
        let mut write = self.hub.parts.store.write().await.unwrap();
        let phase = NodePhase::Revoked;
        write
            .set_node_phase("default", "press-1", phase)
            .await
            .unwrap();
        write.commit().await.unwrap();
    }

    async fn blob(&self) -> String {
        let range = blobs::Range::of_header(Digest::of(b"blob"), "bytes=0-").unwrap();
        let refused = blobs::open(&self.hub, &node("leipzig", "press-1"), range).await;
        refused.err().unwrap().to_string()
    }
}

fn node(site: &str, name: &str) -> NodeIdentity {
    let uri = format!("spiffe://acme/tenant/default/site/{site}/node/{name}");
    NodeIdentity::from_spiffe_id(&uri, UID).unwrap()
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_even_when_the_signal_is_lost() {
    let fixture = Fixture::new().await;
    let orders = fixture.enter();
    end_barred(&fixture.hub).await;
    assert_eq!(orders.borrow().end, None);
    fixture.revoke().await;
    end_barred(&fixture.hub).await;
    assert_eq!(orders.borrow().end, Some(Ending::Revoked));
}

#[tokio::test]
async fn a_revoked_node_gets_no_blob_even_while_its_session_still_ends() {
    let fixture = Fixture::new().await;
    assert!(fixture.blob().await.contains("live session"));
    let _orders = fixture.enter();
    assert!(fixture.blob().await.contains("not part of"));
    fixture.revoke().await;
    assert!(fixture.blob().await.contains("live session"));
}

#[tokio::test]
async fn a_certificate_that_names_another_site_or_name_is_refused_and_audited() {
    let fixture = Fixture::new().await;
    let hub = &fixture.hub;
    let sound = node("leipzig", "press-1");
    assert_eq!(identity::foreign(hub, &sound).await.unwrap(), None);
    for other in [node("ulm", "press-1"), node("leipzig", "press-2")] {
        let refusal = identity::foreign(hub, &other).await.unwrap().unwrap();
        identity::audit(hub, &other, &refusal).await;
        let Some(downlink::Body::Fenced(fenced)) = refusal.body else {
            panic!("{refusal:?}");
        };
        assert_eq!(fenced.reason(), FenceReason::Identity);
        let rows = fixture.server.get("audit?limit=1").await;
        let row = &rows["items"][0];
        assert_eq!(row["action"], "connect");
        assert_eq!(row["outcome"], "refused");
        assert_eq!(row["actor"], format!("node {}", other.node));
    }
}

#[tokio::test]
async fn a_hello_under_the_name_of_another_node_is_audited() {
    let fixture = Fixture::new().await;
    let hello = millwright_proto::link::Hello {
        versions: vec![millwright_proto::frame::PROTOCOL_VERSION],
        node_uid: vec![8; 16].into(),
        ..millwright_proto::link::Hello::default()
    };
    let body = millwright_proto::link::Uplink {
        body: Some(millwright_proto::link::uplink::Body::Hello(hello)),
    };
    let body = millwright_proto::frame::encode_body(&body).unwrap();
    let own = node("leipzig", "press-1");
    let refusal = session::hello(body, &own, (Transport::Quic, None), [0; 32]).unwrap_err();
    identity::audit(&fixture.hub, &own, &refusal).await;
    let rows = fixture.server.get("audit?limit=1").await;
    let detail = rows["items"][0]["detail"].as_str().unwrap();
    assert!(detail.contains(&"08".repeat(16)), "{detail}");
}

#[test]
fn a_resumed_session_of_a_certificate_that_is_over_is_none() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let uid = UID.to_string();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, uid);
    let uri = node("leipzig", "press-1").spiffe_id();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let leaf = params.self_signed(&key).unwrap();
    let at = |time: &str| identity::identity_of(leaf.der(), time.parse().unwrap());
    assert_eq!(at("2029-12-31T00:00:00Z").unwrap().uid, UID);
    assert!(at("2030-01-02T00:00:00Z").unwrap_err().contains("over"));
}
