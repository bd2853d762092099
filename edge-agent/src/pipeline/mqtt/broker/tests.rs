use std::sync::Arc;

use rumqttc::{Event, Incoming};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

#[track_caller]
fn check_address(text: &str, expected: Option<&str>) {
    let parsed = text
        .parse::<BrokerAddress>()
        .ok()
        .map(|address| address.to_string());
    assert_eq!(parsed.as_deref(), expected, "{text}");
}

#[test]
fn broker_addresses_are_host_and_port() {
    check_address("mqtt://10.0.0.5:1884", Some("mqtt://10.0.0.5:1884"));
    check_address("mqtt://broker/", Some("mqtt://broker:1883"));
    check_address("mqtts://broker", Some("mqtts://broker:8883"));
    check_address("mqtt://[::1]:1884", Some("mqtt://::1:1884"));
    check_address("mqtt://[::1]", Some("mqtt://::1:1883"));
    for bad in [
        "broker:1883",
        "mqtt://user:secret@broker",
        "mqtt://",
        "mqtt://b:port",
    ] {
        check_address(bad, None);
    }
}

/// A broker with TLS that takes one client. Returns its port and the CONNECT packet it gets.
async fn broker(
    key: &rcgen::CertifiedKey<rcgen::KeyPair>,
) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
            return Vec::new();
        };
        let mut packet = vec![0; 1024];
        let length = stream.read(&mut packet).await.unwrap();
        packet.truncate(length);
        stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        stream.flush().await.unwrap();
        packet
    });
    (port, serving)
}

#[tokio::test]
async fn a_broker_with_tls_gets_name_and_password_once_it_has_proven_who_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (ours, theirs) = (key("localhost"), key("localhost"));
    let ca_file = file("ca.pem", &ours.cert.pem());
    let password_file = file("password", "s3cret\n");
    for (broker_key, trusted) in [(&ours, true), (&theirs, false)] {
        let (port, serving) = broker(broker_key).await;
        let login = Login {
            broker: format!("mqtts://localhost:{port}"),
            client_id: "press".to_owned(),
            username: Some("plc".to_owned()),
            password_file: Some(password_file.clone()),
            ca_file: Some(ca_file.clone()),
            session: Session::Clean,
        };
        let (_client, mut events) = start_client(&login).unwrap();
        // Longer than a busy machine takes to shake hands.
        events.network_options.set_connection_timeout(60);
        let greeted = matches!(
            events.poll().await,
            Ok(Event::Incoming(Incoming::ConnAck(_)))
        );
        drop(events);
        assert_eq!(greeted, trusted);
        let packet = serving.await.unwrap();
        let text = String::from_utf8_lossy(&packet).into_owned();
        assert_eq!(
            text.contains("plc") && text.contains("s3cret"),
            trusted,
            "{text}"
        );
    }
}

#[test]
fn a_password_that_cannot_be_read_is_told_with_its_file() {
    let login = Login {
        broker: "mqtt://broker".to_owned(),
        client_id: "press".to_owned(),
        username: Some("plc".to_owned()),
        password_file: Some("/nowhere/password".to_owned()),
        ca_file: None,
        session: Session::Kept,
    };
    let Err(error) = start_client(&login) else {
        panic!("a client without its password");
    };
    let error = error.to_string();
    assert!(
        error.contains("/nowhere/password") && error.contains("give the user"),
        "{error}"
    );
}
