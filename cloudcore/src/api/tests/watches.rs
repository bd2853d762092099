//! Watches begin, go on, resume and end.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::Server;

/// The next event of a watch: its id and its data.
async fn next(body: &mut Body) -> (Option<String>, Value) {
    let frame = body.frame().await.unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let line = |start: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(start));
        found.map(|rest| rest.trim().to_owned())
    };
    let data = line("data:").unwrap_or_default();
    (line("id:"), serde_json::from_str(&data).unwrap())
}

fn short(event: &Value) -> (&str, &str) {
    let name = event["object"]["metadata"]["name"].as_str().unwrap();
    (event["type"].as_str().unwrap(), name)
}

async fn watch(server: &Server, query: &str) -> Body {
    let path = format!("sites?watch=1{query}");
    let response = server
        .send(server.request(Method::GET, &path, Body::empty()))
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_what_happens() {
    let server = Server::start().await;
    server.create("Site", "sites", "bonn", json!({})).await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let mut body = watch(&server, "").await;
    let (id, event) = next(&mut body).await;
    assert_eq!((id, short(&event)), (None, ("ADDED", "bonn")));
    let (id, event) = next(&mut body).await;
    assert_eq!((id.is_some(), short(&event)), (true, ("ADDED", "ulm")));
    server.call(Method::DELETE, "sites/bonn", Value::Null).await;
    let (_, event) = next(&mut body).await;
    assert_eq!(short(&event), ("DELETED", "bonn"));
}

#[tokio::test]
async fn a_watch_resumes_where_it_was_cut() {
    let server = Server::start().await;
    let site = server.create("Site", "sites", "bonn", json!({})).await;
    let version = site["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    server.create("Site", "sites", "ulm", json!({})).await;
    let mut changed = site;
    changed["spec"]["gridZone"] = json!("DE");
    server.call(Method::PUT, "sites/bonn", changed).await;
    let mut body = watch(&server, &format!("&resourceVersion={version}")).await;
    let (_, event) = next(&mut body).await;
    assert_eq!(short(&event), ("ADDED", "ulm"));
    let (_, event) = next(&mut body).await;
    assert_eq!(short(&event), ("MODIFIED", "bonn"));
}

#[tokio::test]
async fn an_object_that_is_no_longer_selected_is_told_as_deleted() {
    let server = Server::start().await;
    let mut site = super::object("Site", "bonn", json!({}));
    site["metadata"]["labels"] = json!({"country": "de"});
    server.call(Method::POST, "sites", site.clone()).await;
    let mut body = watch(&server, "&labelSelector=country%3Dde").await;
    next(&mut body).await;
    site["metadata"]["labels"] = json!({"country": "fr"});
    server.call(Method::PUT, "sites/bonn", site).await;
    let (_, event) = next(&mut body).await;
    assert_eq!(short(&event), ("DELETED", "bonn"));
}
