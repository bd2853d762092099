use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use quinn_proto::ConnectionIdGenerator;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::super::cid::{LastingIds, made_by};
use super::*;

const KEY: [u8; 64] = [5; 64];

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &KEY)
}

/// A server with its own certificate, and a client that trusts it.
fn endpoints() -> (Endpoint, Endpoint, UdpSocket) {
    let made = rcgen::generate_simple_self_signed(["cloud".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let own = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::with_single_cert(vec![certificate.clone()], own).unwrap();
    let mut config = EndpointConfig::new(Arc::new(key()));
    config.cid_generator(|| Box::new(LastingIds::new(&key())) as Box<dyn ConnectionIdGenerator>);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let twin = socket.try_clone().unwrap();
    let server = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let trust = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    client.set_default_client_config(trust);
    (server, client, twin)
}

#[tokio::test]
async fn an_agent_obeys_the_reset_that_only_the_key_can_make() {
    let (server, client, twin) = endpoints();
    let dialling = client
        .connect(server.local_addr().unwrap(), "cloud")
        .unwrap();
    let incoming = server.accept().await.unwrap();
    let (accepted, id) = made_by(|| incoming.accept());
    let _served = accepted.unwrap().await.unwrap();
    let session = dialling.await.unwrap();
    let agent = client.local_addr().unwrap();

    let other = hmac::Key::new(hmac::HMAC_SHA256, &[6; 64]);
    let id = id.unwrap();
    twin.send_to(&packet(&other, &id, [1; NOISE_BYTES]), agent)
        .unwrap();
    twin.send_to(&packet(&key(), &[9; 8], [1; NOISE_BYTES]), agent)
        .unwrap();
    // A stream goes both ways after them, so they were read and ignored.
    let (mut send, _receive) = session.open_bi().await.unwrap();
    send.write_all(b"still here").await.unwrap();
    assert_eq!(session.close_reason(), None);

    twin.send_to(&packet(&key(), &id, [1; NOISE_BYTES]), agent)
        .unwrap();
    assert_eq!(session.closed().await, quinn::ConnectionError::Reset);
}
