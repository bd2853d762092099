use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use edge_vision::{Decoded, Detection, Quality};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::board::{About, Rates, Shown};
use super::*;

const TOKEN: &str = "correct-horse-battery-staple";

/// A name only a browser on another machine would use.
const ELSEWHERE: &str = "Host: press4.plant.example\r\n";

const HERE: &str = "Host: localhost\r\n";

struct Server {
    address: SocketAddr,
    board: Board,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Server {
    /// Serves the page as the agent does.
    async fn start(token: Option<&str>) -> Self {
        let board = Board::default();
        let token = token.map(|text| PageToken::try_from(text.to_owned()).unwrap());
        let router = router(board.clone(), token);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(crate::serving::serve(
            listener,
            router,
            std::future::pending(),
        ));
        Self { address, board }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
        ))
        .await
    }

    async fn sign_in(&self, token: &str) -> Answer {
        let body = format!("token={token}");
        self.ask(&format!(
            "POST /pipelines/sign-in HTTP/1.1\r\n{ELSEWHERE}Connection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn publish(&self, pipeline: &str, jpeg: &'static [u8]) {
        let detection = Detection {
            label: "face".to_owned(),
            score: 0.93,
            ..Detection::default()
        };
        let decoded = Decoded {
            detections: vec![detection],
            ..Decoded::default()
        };
        self.board.publish(
            pipeline,
            Shown {
                jpeg: Bytes::from_static(jpeg),
                decoded: Arc::new(decoded),
                taken_at: SystemTime::now(),
            },
        );
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

#[tokio::test]
async fn a_browser_on_this_machine_sees_everything_without_a_token() {
    let server = Server::start(Some(TOKEN)).await;
    server.publish("door", b"jpeg");
    for path in [
        "/pipelines",
        "/pipelines/list.json",
        "/pipelines/door/frame.jpg",
        "/pipelines/door/state.json",
    ] {
        for name in ["localhost", "127.0.0.1:8080", "[::1]:8080", "LocalHost:1"] {
            let answer = server.get(path, &format!("Host: {name}\r\n")).await;
            assert_eq!(answer.status, 200, "{path} {name}");
        }
    }
    let front = server.get("/", HERE).await;
    assert_eq!(
        (front.status, front.header("location")),
        (303, Some("/pipelines"))
    );
}

#[tokio::test]
async fn nobody_else_sees_anything_without_the_token() {
    let server = Server::start(Some(TOKEN)).await;
    server.publish("door", b"jpeg");
    let strangers = [
        ELSEWHERE,
        // A site that points its own name at 127.0.0.1.
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.evil.example:8080\r\n",
        "",
        // A proxy on this machine.
        "Host: localhost\r\nX-Forwarded-For: 203.0.113.9\r\n",
        "Host: localhost\r\nVia: 1.1 proxy\r\n",
        // Wrong proofs.
        "Host: a.example\r\nAuthorization: Bearer correct-horse-battery-stapler\r\n",
        "Host: a.example\r\nCookie: millwright_page=00\r\n",
        "Host: a.example\r\nCookie: millwright_page=correct-horse-battery-staple\r\n",
    ];
    for headers in strangers {
        for path in [
            "/pipelines",
            "/pipelines/list.json",
            "/pipelines/door/frame.jpg",
            "/pipelines/door/state.json",
        ] {
            let answer = server.get(path, headers).await;
            // A request without `Host` is refused before it reaches us, or by us.
            assert!(
                matches!(answer.status, 400 | 401),
                "{path} {headers:?} {}",
                answer.head
            );
            assert!(!answer.text().contains("door"), "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn without_a_token_the_page_is_for_this_machine_only() {
    let server = Server::start(None).await;
    let answer = server.get("/pipelines", ELSEWHERE).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("page: {token: ...}"),
        "{}",
        answer.text()
    );
    assert_eq!(server.sign_in("").await.status, 401);
    assert_eq!(server.get("/pipelines", HERE).await.status, 200);
}

#[tokio::test]
async fn the_token_opens_the_page_and_leaves_the_address() {
    let server = Server::start(Some(TOKEN)).await;
    let link = server
        .get(&format!("/pipelines?token={TOKEN}"), ELSEWHERE)
        .await;
    for answer in [server.sign_in(TOKEN).await, link] {
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/pipelines"))
        );
        let cookie = answer.header("set-cookie").unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        assert!(!cookie.contains(TOKEN), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let headers = format!("{ELSEWHERE}Cookie: other=1; {pair}\r\n");
        assert_eq!(server.get("/pipelines", &headers).await.status, 200);
        assert_eq!(
            server.get("/pipelines/list.json", &headers).await.status,
            200
        );
    }
    let program = format!("{ELSEWHERE}Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(
        server.get("/pipelines/list.json", &program).await.status,
        200
    );
    // On this machine the token is not needed, and does not stay in the address either.
    let here = server.get("/pipelines?token=x", HERE).await;
    assert_eq!(
        (here.status, here.header("location")),
        (303, Some("/pipelines"))
    );
}

#[tokio::test]
async fn a_token_cannot_be_guessed_at_length() {
    let server = Server::start(Some(TOKEN)).await;
    let mut last = 0;
    for guess in 0..30 {
        last = server.sign_in(&format!("guess{guess}")).await.status;
    }
    assert_eq!(last, 429);
    assert_eq!(server.sign_in(TOKEN).await.status, 429);
}

#[tokio::test]
async fn every_answer_forbids_foreign_scripts_and_foreign_pages() {
    let server = Server::start(Some(TOKEN)).await;
    server.publish("door", b"jpeg");
    for path in [
        "/",
        "/pipelines",
        "/pipelines/page.js",
        "/pipelines/page.css",
        "/pipelines/door/frame.jpg",
        "/pipelines/none/state.json",
    ] {
        for headers in [HERE, ELSEWHERE] {
            let answer = server.get(path, headers).await;
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(
                answer.header("cross-origin-resource-policy"),
                Some("same-origin")
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

#[test]
fn the_page_has_nothing_its_policy_forbids() {
    for page in [HTML, include_str!("sign-in.html")] {
        assert!(!page.contains(" style=") && !page.contains("<style"));
        assert!(!page.contains(" on") || !page.contains("onclick"));
        assert!(!page.contains("http://") && !page.contains("https://"));
        let scripts = page.matches("<script").count();
        assert_eq!(scripts, page.matches("<script src=\"/pipelines/").count());
    }
    assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
}

#[tokio::test]
async fn a_frame_is_sent_once_and_the_next_one_is_waited_for() {
    let server = Arc::new(Server::start(None).await);
    server.publish("door", b"first");
    let first = server.get("/pipelines/door/frame.jpg", HERE).await;
    assert_eq!((first.status, first.text()), (200, "first"));
    assert_eq!(first.header("content-type"), Some("image/jpeg"));
    let known = format!("{HERE}If-None-Match: {}\r\n", first.header("etag").unwrap());
    let again = server.get("/pipelines/door/frame.jpg", &known).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let waiting = {
        let (server, known) = (Arc::clone(&server), known.clone());
        tokio::spawn(async move {
            server
                .get("/pipelines/door/frame.jpg?wait=5000", &known)
                .await
        })
    };
    // Frames come until one is seen: it does not matter which request is first.
    let next = async {
        loop {
            server.publish("door", b"second");
            tokio::task::yield_now().await;
            if waiting.is_finished() {
                break waiting.await.unwrap();
            }
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(30), next)
        .await
        .unwrap();
    assert_eq!((next.status, next.text()), (200, "second"));
    assert_ne!(next.header("etag"), first.header("etag"));
}

#[tokio::test]
async fn a_pipeline_that_goes_ends_the_waiting_for_its_frames() {
    let server = Arc::new(Server::start(None).await);
    server.publish("door", b"first");
    let first = server.get("/pipelines/door/frame.jpg", HERE).await;
    let known = format!("{HERE}If-None-Match: {}\r\n", first.header("etag").unwrap());
    server.board.remove("door");
    let gone = server
        .get("/pipelines/door/frame.jpg?wait=5000", &known)
        .await;
    assert_eq!(gone.status, 404);
    assert_eq!(server.get("/pipelines/list.json", HERE).await.text(), "[]");
}

#[tokio::test]
async fn viewers_beyond_the_bound_are_told_so() {
    let server = Arc::new(Server::start(None).await);
    server.publish("door", b"first");
    let tag = server.get("/pipelines/door/frame.jpg", HERE).await;
    let known = format!("{HERE}If-None-Match: {}\r\n", tag.header("etag").unwrap());
    // Asks until there is a second frame, whatever comes in between.
    let ask = || {
        let (server, known) = (Arc::clone(&server), known.clone());
        tokio::spawn(async move {
            let path = "/pipelines/door/frame.jpg?wait=5000";
            while server.get(path, &known).await.status != 200 {}
        })
    };
    let waiting: Vec<_> = (0..FRAMES_WAITING_MAX).map(|_| ask()).collect();
    let refused = async {
        loop {
            let answer = server.get("/pipelines/door/frame.jpg", &known).await;
            if answer.status == 503 {
                break answer;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(30), refused)
        .await
        .unwrap();
    assert_eq!(refused.header("retry-after"), Some("2"));
    server.publish("door", b"second");
    for waiting in waiting {
        waiting.await.unwrap();
    }
}

#[tokio::test]
async fn the_state_says_what_the_page_shows() {
    let server = Server::start(None).await;
    server.publish("door", b"");
    server.board.about(
        "door",
        About {
            model: "face-detector 1.0.0".to_owned(),
            latency: Some(Duration::from_micros(12_500)),
            quality: Some(Quality::default()),
        },
    );
    let rates = Rates {
        received: 7,
        dropped: 1,
        answered: 5,
        failed: 1,
        state: "running".to_owned(),
    };
    server.board.rates("door", rates);
    let answer = server.get("/pipelines/door/state.json", HERE).await;
    let state: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(state["state"], "running");
    assert_eq!(state["hasPicture"], false);
    assert_eq!(state["model"], "face-detector 1.0.0");
    assert_eq!(state["latencyMs"], 12.5);
    assert_eq!(state["sinceStart"]["received"], 7);
    assert_eq!(state["result"]["detections"][0]["label"], "face");
    assert!((state["confidences"][0].as_f64().unwrap() - 0.93).abs() < 1e-6);
    let frame = server.get("/pipelines/door/frame.jpg", HERE).await;
    assert_eq!(frame.status, 204);
}
