//! A pinned client reaches the server; a server that drains finishes what it is in.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use millwright_identity::{RootPin, TrustDomain, pinned_client_config, server_name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Security, serve};
use crate::pki::Pki;

const DEADLINE: Duration = Duration::from_secs(20);

fn identity(dir: &std::path::Path) -> (Pki, RootPin) {
    let fleet: TrustDomain = "f.example".parse().unwrap();
    let pki = Pki::open(dir, &fleet, &[], Timestamp::now()).unwrap();
    let pin = pki.authority().pin();
    (pki, pin)
}

async fn dial(
    listener: std::net::SocketAddr,
    pin: RootPin,
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(pinned_client_config(pin)));
    let stream = TcpStream::connect(listener).await?;
    connector.connect(server_name(), stream).await
}

#[tokio::test]
async fn a_client_that_pins_the_root_gets_in_and_one_that_pins_another_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (server, pin) = identity(dir.path());
    let other = tempfile::tempdir().unwrap();
    let (_, other_pin) = identity(other.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, shutdown) = watch::channel(false);
    let router = Router::new().route("/", get(async || "hello"));
    let tls = Security::tls(server.credentials());
    let serving = tokio::spawn(serve(listener, tls, router, shutdown));
    let mut stream = dial(address, pin).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(dial(address, other_pin).await.is_err());
    stop.send_replace(true);
    tokio::time::timeout(DEADLINE, serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_request_in_flight_is_answered_although_the_server_drains() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, shutdown) = watch::channel(false);
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, waits) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = move || async move {
        told.notify_one();
        waits.notified().await;
        "done"
    };
    let router = Router::new().route("/", get(slow));
    let serving = tokio::spawn(serve(listener, Security::Plain, router, shutdown));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    begun.notified().await;
    stop.send_replace(true);
    go_on.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    tokio::time::timeout(DEADLINE, serving)
        .await
        .unwrap()
        .unwrap();
}
