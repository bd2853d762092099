//! The API over its router, on a real store in a temporary directory.

mod ahead;
mod enrollment;
mod packages;
mod pipelines;
mod renewal;
mod resources;
mod watches;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::router;
use crate::app::{Addresses, App};
use crate::config::Config;

/// A server without sockets.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    router: Router,
    token: String,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: dir.path().to_owned(),
            ..Config::default()
        };
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            api: at(1),
            websocket: at(2),
            quic: at(3),
            metrics: at(4),
        };
        let (stop, shutdown) = watch::channel(false);
        let app = Arc::new(App::open(&config, addresses, shutdown).await.unwrap());
        let token = std::fs::read_to_string(dir.path().join("admin.token")).unwrap();
        Self {
            router: router(Arc::clone(&app)),
            app,
            token: token.trim().to_owned(),
            _stop: stop,
            _dir: dir,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::HOST, "cloud.example:8443")
            .body(body.into())
            .unwrap()
    }

    /// Status and JSON of an answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        answer(self.send(self.request(method, path, body)).await).await
    }

    /// Creates an object; returns it.
    pub(crate) async fn create(&self, kind: &str, plural: &str, name: &str, spec: Value) -> Value {
        let body = object(kind, name, spec);
        let (status, answer) = self.call(Method::POST, plural, body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }
}

pub(crate) async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

pub(crate) fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "millwright/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}
