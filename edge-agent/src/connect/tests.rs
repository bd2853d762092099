use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// A listener that reads one request head and answers with `answer`; the head comes back in the channel.
async fn answering(answer: Vec<u8>) -> (SocketAddr, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, head) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        heard.send(String::from_utf8(request).unwrap()).unwrap();
        // The client may hang up in the middle of an answer that is too long.
        drop(stream.write_all(&answer).await);
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    });
    (address, head)
}

fn through(proxy: &str) -> Connector {
    let setting = ProxySetting::Through(proxy.parse().unwrap());
    Connector::configured(Some(&setting)).unwrap()
}

async fn refusal(answer: &[u8], user: &str) -> String {
    let (address, _head) = answering(answer.to_vec()).await;
    let connector = through(&format!("http://{user}{address}"));
    let error = connector.connect("cloud.example", 8444).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let all = format!("{error} {error:?} {connector:?}");
    assert!(
        !all.contains("s3cret") && !all.contains("czNjcmV0"),
        "{all}"
    );
    error.to_string()
}

#[tokio::test]
async fn a_tunnel_is_asked_for_by_name_and_with_basic_authentication() {
    let (address, head) = answering(b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec()).await;
    let connector = through(&format!("http://line%201:s3cret%40@{address}"));
    let stream = connector.connect("cloud.example", 8444).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    let patience_ms = rustix::net::sockopt::tcp_user_timeout(&stream).unwrap();
    assert_eq!(patience_ms, UNACKNOWLEDGED_MS_MAX);
    let head = head.await.unwrap().to_lowercase();
    assert!(
        head.starts_with("connect cloud.example:8444 http/1.1\r\n"),
        "{head}"
    );
    // `line 1:s3cret@`
    let expected = "proxy-authorization: basic bgluzsaxonmzy3jldea=\r\n";
    assert!(head.contains(expected), "{head}");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said_with_what_to_do_and_without_the_password() {
    let asks = b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n";
    let error = refusal(asks, "").await;
    assert!(error.contains("http://USER:PASSWORD@"), "{error}");
    let error = refusal(asks, "user:s3cret@").await;
    assert!(error.contains("does not accept the user"), "{error}");
    let error = refusal(b"HTTP/1.1 403 Forbidden\r\n\r\n", "user:s3cret@").await;
    assert!(
        error.contains("cloud.example:8444") && error.contains("403"),
        "{error}"
    );
    for nonsense in [&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], b"\x15\x03\x01\x00\x02"] {
        let error = refusal(nonsense, "user:s3cret@").await;
        assert!(error.contains("not answer like an HTTP proxy"), "{error}");
    }
    let mut endless = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    endless.resize(64 * 1024, b'a');
    let error = refusal(&endless, "user:s3cret@").await;
    assert!(error.contains("not answer like an HTTP proxy"), "{error}");
    let early = b"HTTP/1.1 200 OK\r\n\r\nhello";
    let error = refusal(early, "user:s3cret@").await;
    assert!(error.contains("spoke into the tunnel"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let connector = through(&format!("http://user:s3cret@{address}"));
    let error = connector.connect("cloud.example", 1).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(error.to_string().starts_with("cannot reach the proxy"));
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn the_setting_wins_over_the_environment_and_no_proxy_over_https_proxy() {
    let variables = BTreeMap::from([
        ("https_proxy", "proxy.plant:3128"),
        (
            "NO_PROXY",
            "local, .plant,10.0.0.0/8, cloud.example:443,fd00::/8",
        ),
    ]);
    let read = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let environment = Connector::resolve(None, read).unwrap();
    let proxied = |host, port| environment.proxy_for(host, port).map(ToString::to_string);
    assert_eq!(proxied("cloud.example", 8444).unwrap(), "proxy.plant:3128");
    for (host, port) in [
        ("local", 1),
        ("cloud.Plant.", 1),
        ("10.255.0.1", 1),
        ("cloud.example", 443),
        ("fd12::1", 1),
    ] {
        assert_eq!(proxied(host, port), None, "{host}");
    }
    for host in ["notlocal", "plant.example", "11.0.0.1", "fe00::1"] {
        assert!(proxied(host, 1).is_some(), "{host}");
    }
    let setting = ProxySetting::try_from("http://other".to_owned()).unwrap();
    let chosen = Connector::resolve(Some(&setting), read).unwrap();
    assert_eq!(
        chosen
            .proxy_for("local", 1)
            .map(ToString::to_string)
            .unwrap(),
        "other:80"
    );
    let direct = ProxySetting::try_from("direct".to_owned()).unwrap();
    assert_eq!(
        Connector::resolve(Some(&direct), read),
        Ok(Connector::direct())
    );
    assert_eq!(Connector::resolve(None, |_| None), Ok(Connector::direct()));
    let everything = |name: &str| Some(if name == "NO_PROXY" { "*" } else { "p:1" }.to_owned());
    let none = Connector::resolve(None, everything).unwrap();
    assert_eq!(none.proxy_for("anything", 1), None);
}

#[test]
fn what_names_no_proxy_is_refused_without_repeating_it() {
    for (text, expected) in [
        ("socks5://u:s3cret@h:1", ProxyUrlError::Scheme),
        ("https://u:s3cret@h:1", ProxyUrlError::Scheme),
        ("http://u:s3cret@", ProxyUrlError::Form),
        ("http://u:s3cret@h:port", ProxyUrlError::Form),
        ("http://u:s3cret@h/path", ProxyUrlError::Form),
        ("http://u:s3cret%4@h:1", ProxyUrlError::User),
        ("http://u%3a:s3cret@h:1", ProxyUrlError::User),
    ] {
        let error = text.parse::<ProxyUrl>().unwrap_err();
        assert_eq!(error, expected, "{text}");
        assert!(!error.to_string().contains("s3cret"));
    }
    let six = "http://[fd00::1]:3128".parse::<ProxyUrl>().unwrap();
    assert_eq!(
        (six.to_string().as_str(), six.host()),
        ("[fd00::1]:3128", "fd00::1")
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_that_never_answers_costs_a_moment_only() {
    let addresses: Vec<SocketAddr> = ["[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.2:1"]
        .map(|address| address.parse().unwrap())
        .to_vec();
    let answering = addresses[2];
    let began = tokio::time::Instant::now();
    let won = race(addresses, |address| async move {
        if address == answering {
            return Ok::<_, ()>(address);
        }
        std::future::pending().await
    });
    assert_eq!(won.await, Ok(answering));
    assert_eq!(began.elapsed().as_millis(), 2 * HEAD_START.as_millis());
}

#[tokio::test(start_paused = true)]
async fn when_no_address_answers_the_last_error_is_told_without_waiting() {
    let addresses = vec![SocketAddr::from(([192, 0, 2, 1], 1)); 3];
    let began = tokio::time::Instant::now();
    let lost = race(addresses, |address| async move { Err::<(), _>(address) });
    assert!(matches!(lost.await, Err(Some(_))));
    assert!(began.elapsed() < HEAD_START);
    let nothing = race(Vec::new(), |_| async { Ok::<(), ()>(()) });
    assert_eq!(nothing.await, Err(None));
}

proptest! {
    #[test]
    fn texts_of_any_kind_never_panic(text in ".{0,80}", host in ".{0,40}", port in any::<u16>()) {
        drop(text.parse::<ProxyUrl>());
        Bypass::parse(&text).covers(&host, port);
        let _ = split(&text);
    }
}
