//! A scripted cloudcore: each request is recorded and answered by a closure.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{Request, StatusCode as Status, header};
use axum::response::{IntoResponse as _, Response as Answer};
use fleet_api::{Node, Problem, Site};
use serde_json::{Value, json};

use super::*;
use crate::exit::Exit;

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `METHOD /path?query`
    pub(crate) line: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server on a port of its own, and a client for it.
pub(crate) struct Scripted {
    pub(crate) client: Client,
    // Shared with the server's task; this handle only reads.
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Script<F> {
    answer: F,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    /// Starts; `answer` gets every request and how many came before it.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Seen, usize) -> (u16, Value) + Send + Sync + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Script {
            answer,
            seen: Arc::clone(&seen),
        });
        let router = axum::Router::new().fallback(reply::<F>).with_state(script);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let token = ApiToken::new("secret");
        // Plain HTTP, which `Client::new` refuses; no pin is looked at.
        let pin = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let http = http(pin, &base).unwrap();
        let client = Client { http, base, token };
        Self { client, seen }
    }

    /// What arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The request lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn reply<F>(
    State(script): State<Arc<Script<F>>>,
    request: Request<axum::body::Body>,
) -> Answer
where
    F: Fn(&Seen, usize) -> (u16, Value) + Send + Sync + 'static,
{
    let (parts, body) = request.into_parts();
    assert_eq!(parts.headers[header::AUTHORIZATION], "Bearer secret");
    let line = format!("{} {}", parts.method, parts.uri);
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap()
        .to_vec();
    let seen = Seen { line, body };
    let before = {
        let mut all = script.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let (status, answer) = (script.answer)(&seen, before);
    let status = Status::from_u16(status).unwrap();
    match answer {
        // What is no document goes out as it is.
        Value::String(text) => (status, text).into_response(),
        document => (status, axum::Json(document)).into_response(),
    }
}

/// A problem document.
pub(crate) fn problem(status: u16, kind: &str) -> (u16, Value) {
    let problem = Problem {
        kind: format!("urn:millwright:problem:{kind}"),
        title: kind.to_owned(),
        status,
        detail: format!("the test says {kind}"),
        field: Some("spec.x".to_owned()),
        hint: Some("change the test".to_owned()),
    };
    (status, serde_json::to_value(problem).unwrap())
}

fn site(name: &str) -> Value {
    json!({"apiVersion": "millwright/v1", "kind": "Site", "metadata": {"name": name}, "spec": {}})
}

#[tokio::test]
async fn lists_are_read_page_by_page_with_their_filters() {
    let scripted = Scripted::start(|_, before| {
        let next = if before == 0 { json!({"continue": "a&b", "resourceVersion": "1"}) } else { json!({"resourceVersion": "1"}) };
        let name = format!("s{before}");
        (200, json!({"apiVersion": "millwright/v1", "kind": "SiteList", "metadata": next, "items": [site(&name)]}))
    })
    .await;
    let filter = Filter {
        labels: Some("a in (b, c)".to_owned()),
        fields: None,
    };
    let sites = scripted.client.list::<Site>(&filter).await.unwrap();
    let names: Vec<_> = sites
        .iter()
        .map(|site| site.metadata.name.as_str())
        .collect();
    assert_eq!(names, ["s0", "s1"]);
    assert_eq!(
        scripted.lines(),
        [
            "GET /api/v1/sites?limit=500&labelSelector=a+in+%28b%2C+c%29",
            "GET /api/v1/sites?limit=500&labelSelector=a+in+%28b%2C+c%29&continue=a%26b",
        ]
    );
}

#[tokio::test]
async fn a_name_cannot_leave_its_place_in_the_path() {
    let scripted = Scripted::start(|_, _| problem(404, "not-found")).await;
    for name in [
        "../sites/a",
        "a?dryRun=true",
        "a/revoke",
        "m@1.0.0",
        "%2e%2e",
    ] {
        assert!(scripted.client.find::<Node>(name).await.unwrap().is_none());
    }
    let lines = scripted.lines();
    assert_eq!(lines[0], "GET /api/v1/nodes/..%2Fsites%2Fa");
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("GET /api/v1/nodes/")),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| line.matches('/').count() == 4),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_refusal_says_what_where_and_what_to_do_and_has_its_exit_code() {
    for (status, kind, exit) in [
        (401, "unauthenticated", Exit::Unauthenticated),
        (404, "not-found", Exit::NotFound),
        (409, "conflict", Exit::Conflict),
        (422, "invalid-field", Exit::Refused),
        (500, "internal", Exit::Failed),
    ] {
        let scripted = Scripted::start(move |_, _| problem(status, kind)).await;
        let error = scripted.client.get::<Site>("a").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the test says {kind} (at spec.x): change the test")
        );
        assert_eq!(Exit::of(&error.into()), exit);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_problem_document_is_quoted() {
    let scripted = Scripted::start(|_, _| (502, json!("bad\u{7} gateway"))).await;
    let error = scripted.client.get::<Site>("a").await.unwrap_err();
    assert!(
        error.to_string().ends_with("502 Bad Gateway: bad gateway"),
        "{error}"
    );
    assert!(error.is_passing());
    let scripted = Scripted::start(|_, _| (200, json!({"kind": 1}))).await;
    let error = scripted.client.get::<Site>("a").await.unwrap_err();
    assert!(
        error.to_string().contains("same version as cloudcore"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_listening_is_said_with_its_own_exit_code() {
    let access = |cloud: &str, pin: &str| Access {
        cloud: cloud.to_owned(),
        ca_pin: pin.to_owned(),
        token: ApiToken::new("secret"),
    };
    let pin = format!("sha256:{}", "0".repeat(64));
    let client = Client::new(&access("https://127.0.0.1:1", &pin)).unwrap();
    let error = client.get::<Site>("a").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot reach cloudcore at https://127.0.0.1:1"),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Unreachable);
    for wrong in [
        "http://127.0.0.1:1",
        "127.0.0.1:1",
        "https://127.0.0.1:1/api",
    ] {
        let error = Client::new(&access(wrong, &pin)).unwrap_err();
        assert!(
            matches!(error, ClientError::Address { .. }),
            "{wrong}: {error}"
        );
    }
    let error = Client::new(&access("https://127.0.0.1:1", "sha1:00")).unwrap_err();
    assert!(matches!(error, ClientError::Pin(_)), "{error}");
}

#[tokio::test]
async fn the_token_goes_to_nobody_else_through_a_raw_path() {
    let scripted = Scripted::start(|_, _| (200, json!({"items": []}))).await;
    assert_eq!(
        scripted.client.raw("/api/v1/audit").await.unwrap(),
        b"{\"items\":[]}"
    );
    for path in ["//evil.example/x", "https://evil.example/x", "api/v1/audit"] {
        let error = scripted.client.raw(path).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Address { .. }),
            "{path}: {error}"
        );
    }
    assert_eq!(scripted.lines(), ["GET /api/v1/audit"]);
}
