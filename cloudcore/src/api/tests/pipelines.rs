//! Pipelines as objects.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Server, answer, object};

fn push(fields: &str) -> String {
    format!(
        "{{\"apiVersion\": \"millwright/v1\", \"kind\": \"Pipeline\", \"metadata\": {{\"name\": \"rows\"}}, \
         \"spec\": {{\"source\": {{\"push\": {{\"payload\": {{\"json\": {{\"fields\": {{{fields}}}}}}}}}}}, \
         \"model\": \"m\"}}}}"
    )
}

#[tokio::test]
async fn the_order_of_a_rows_fields_is_kept_and_changing_it_is_a_change() {
    let server = Server::start().await;
    let send = async |method, path, body: String| {
        let request = server.request(method, path, Body::from(body));
        answer(server.send(request).await).await
    };
    let (zeta, alpha) = ("\"zeta\": \"z\"", "\"alpha\": \"a\"");
    let first = push(&format!("{zeta}, {alpha}"));
    let (status, created) = send(Method::POST, "pipelines", first.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let (_, same) = send(Method::PUT, "pipelines/rows", first).await;
    assert_eq!(same["metadata"]["generation"], 1);
    let turned = push(&format!("{alpha}, {zeta}"));
    let (status, turned) = send(Method::PUT, "pipelines/rows", turned).await;
    assert_eq!(status, StatusCode::OK, "{turned}");
    assert_eq!(turned["metadata"]["generation"], 2);
    let stored = server
        .app
        .store
        .find::<fleet_api::Pipeline>("default", "rows")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        stored.spec.0.source.row_fields(),
        ["alpha", "zeta"],
        "as written last"
    );
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_its_key_and_what_to_write_instead() {
    let server = Server::start().await;
    let camera = |url: &str| json!({"source": {"camera": {"url": url}}, "model": "m"});
    let labels = json!({"matchLabels": {"a b": "c"}});
    let long = "x".repeat(1000);
    let names: Vec<_> = (0..66).map(|at| format!("{long}{at}")).collect();
    let columns = json!({"csv": {"columns": names}});
    for (spec, field, words) in [
        (camera("rtsp://c/1"), "spec.source.camera.url", "MJPEG"),
        (json!({"source": {"push": {}}}), "spec.model", "missing"),
        (
            json!({"source": {"push": {}}, "model": "m", "sink": []}),
            "spec.sink",
            "sink",
        ),
        (
            json!({"source": {"push": {}}, "model": "m", "selector": labels}),
            "spec.selector.matchLabels",
            "label key",
        ),
        (
            json!({"source": {"push": {"payload": columns}}, "model": "m"}),
            "spec",
            "at most 65536",
        ),
    ] {
        let body = object("Pipeline", "gate", spec);
        let (status, problem) = server.call(Method::POST, "pipelines", body).await;
        assert!(status.is_client_error(), "{problem}");
        assert_eq!(problem["field"], field, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
    }
    let named = object("Pipeline", "Not A Name", camera("http://c/1"));
    let (_, problem) = server.call(Method::POST, "pipelines", named).await;
    assert_eq!(problem["field"], "metadata.name");
    let none = server.get("pipelines").await;
    assert_eq!(none["items"], Value::Array(Vec::new()));
}
