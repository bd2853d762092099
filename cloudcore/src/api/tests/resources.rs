//! Objects, refusals, audit, the document.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Server, answer, names, object};
use crate::api::routes;

#[tokio::test]
async fn nobody_gets_in_without_a_token_and_the_refusal_is_audited() {
    let server = Server::start().await;
    let request = Request::get("/api/v1/sites").body(Body::empty()).unwrap();
    let (status, problem) = answer(server.send(request).await).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(problem["type"], "urn:millwright:problem:unauthenticated");
    let audit = server.get("audit").await;
    assert_eq!(audit["items"][0]["outcome"], "refused");
    assert_eq!(audit["items"][0]["object"], "GET /api/v1/sites");
}

#[tokio::test]
async fn an_update_from_an_old_version_is_a_conflict() {
    let server = Server::start().await;
    let mut site = server.create("Site", "sites", "ulm", json!({})).await;
    site["spec"]["displayName"] = json!("Plant Ulm");
    let (status, updated) = server.call(Method::PUT, "sites/ulm", site.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(updated["metadata"]["generation"], 2);
    site["spec"]["displayName"] = json!("Plant of Ulm");
    let (status, problem) = server.call(Method::PUT, "sites/ulm", site).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["field"], "metadata.resourceVersion");
    assert_eq!(
        server.get("sites/ulm").await["spec"]["displayName"],
        "Plant Ulm"
    );
}

#[tokio::test]
async fn every_mutation_has_exactly_one_audit_row_and_a_dry_run_none() {
    let server = Server::start().await;
    let mut site = server.create("Site", "sites", "ulm", json!({})).await;
    let dry = object("Site", "bonn", json!({}));
    let (status, _) = server.call(Method::POST, "sites?dryRun=true", dry).await;
    assert_eq!(status, StatusCode::CREATED);
    site["metadata"]["labels"] = json!({"country": "de"});
    server.call(Method::PUT, "sites/ulm", site.clone()).await;
    // The same again changes nothing.
    site["metadata"]["resourceVersion"] = Value::Null;
    let (status, _) = server.call(Method::PUT, "sites/ulm", site).await;
    assert_eq!(status, StatusCode::OK);
    server
        .call(Method::DELETE, "sites/ulm?dryRun=true", Value::Null)
        .await;
    server.call(Method::DELETE, "sites/ulm", Value::Null).await;
    let audit = server.get("audit").await;
    let rows = audit["items"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| format!("{} {}", row["action"], row["object"]))
        .collect();
    let site = |action| format!("\"{action}\" \"Site/ulm\"");
    let token = "\"create\" \"ApiToken/admin\"".to_owned();
    assert_eq!(
        rows,
        [site("delete"), site("update"), site("create"), token]
    );
    assert_eq!(names(&server.get("sites").await), [""; 0]);
}

#[tokio::test]
async fn what_is_not_known_or_does_not_fit_is_named() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    let deployment = |strategy| json!({"model": "m", "version": "1", "strategy": strategy});
    let token = |spec| ("JoinToken", "jointokens", spec);
    for ((kind, plural, spec), field) in [
        (("Site", "sites", json!({"timezone": "x"})), "spec.timezone"),
        (
            ("Site", "sites", json!({"timeZone": "Europe Berlin"})),
            "spec.timeZone",
        ),
        (token(json!({"site": "bonn"})), "spec.site"),
        (token(json!({"site": "ulm", "uses": 0})), "spec.uses"),
        (
            token(json!({"site": "ulm", "ttlSeconds": 604_801})),
            "spec.ttlSeconds",
        ),
        (
            (
                "ModelDeployment",
                "modeldeployments",
                deployment(json!({"waves": [{"name": "a", "percent": 101}]})),
            ),
            "spec.strategy.waves[0].percent",
        ),
        (
            (
                "ModelDeployment",
                "modeldeployments",
                json!({"model": "M", "version": "1"}),
            ),
            "spec.model",
        ),
    ] {
        let body = object(kind, "x", spec);
        let (status, problem) = server.call(Method::POST, plural, body).await;
        assert!(status.is_client_error(), "{problem}");
        assert_eq!(problem["field"], field, "{problem}");
        assert_eq!(problem["status"], status.as_u16());
    }
    let bad_name = object("Site", "Ulm", json!({}));
    let (_, problem) = server.call(Method::POST, "sites", bad_name).await;
    assert_eq!(problem["field"], "metadata.name");
    let twice = object("Site", "ulm", json!({}));
    let (status, problem) = server.call(Method::POST, "sites", twice).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["type"], "urn:millwright:problem:already-exists");
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_problem_too() {
    let server = Server::start().await;
    let mut site = object("Site", "ulm", json!({}));
    site["metadata"]["annotations"] = json!({"a": "x".repeat(2 << 20)});
    let (status, problem) = server.call(Method::POST, "sites", site).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(problem["type"], "urn:millwright:problem:too-large");
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let server = Server::start().await;
    for (name, country) in [
        ("bonn", "de"),
        ("graz", "at"),
        ("ulm", "de"),
        ("wien", "at"),
    ] {
        let mut site = object("Site", name, json!({}));
        site["metadata"]["labels"] = json!({"country": country});
        server.call(Method::POST, "sites", site).await;
    }
    let page = server.get("sites?limit=3").await;
    assert_eq!(names(&page), ["bonn", "graz", "ulm"]);
    let next = page["metadata"]["continue"].as_str().unwrap();
    let page = server.get(&format!("sites?limit=3&continue={next}")).await;
    assert_eq!(names(&page), ["wien"]);
    assert_eq!(page["metadata"]["continue"], Value::Null);
    let germans = server
        .get("sites?labelSelector=country%20in%20(de,ch)")
        .await;
    assert_eq!(names(&germans), ["bonn", "ulm"]);
    let one = server.get("sites?fieldSelector=metadata.name%3Dgraz").await;
    assert_eq!(names(&one), ["graz"]);
    let (_, problem) = server
        .call(Method::GET, "sites?fieldSelector=spec.x%3D1", Value::Null)
        .await;
    assert_eq!(problem["field"], "fieldSelector");
}

#[tokio::test]
async fn what_others_need_stays() {
    let server = Server::start().await;
    server.create("Site", "sites", "ulm", json!({})).await;
    server
        .create("JoinToken", "jointokens", "t", json!({"site": "ulm"}))
        .await;
    let (status, problem) = server.call(Method::DELETE, "sites/ulm", Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["type"], "urn:millwright:problem:in-use");
    server
        .call(Method::DELETE, "jointokens/t", Value::Null)
        .await;
    let (status, _) = server.call(Method::DELETE, "sites/ulm", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn the_document_has_every_route_and_no_dangling_reference() {
    let server = Server::start().await;
    let document = server.get("openapi.json").await;
    let all = routes::all();
    for route in &all {
        let method = serde_json::to_value(&route.method).unwrap();
        let operation = &document["paths"][&route.path][method.as_str().unwrap()];
        assert!(
            operation["operationId"].is_string(),
            "{method} {}",
            route.path
        );
    }
    let paths = document["paths"].as_object().unwrap().values();
    let operations: usize = paths.map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(operations, all.len());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn every_described_route_is_answered_by_a_handler() {
    let server = Server::start().await;
    for route in routes::all() {
        let path = route.path.replace("{name}", "nothing");
        let method = serde_json::to_value(&route.method).unwrap();
        let method = method.as_str().unwrap().to_uppercase();
        let request = Request::builder().method(&*method).uri(&path);
        let (status, problem) =
            answer(server.send(request.body(Body::empty()).unwrap()).await).await;
        let open = ["/openapi.json", "/enroll", "/renew"]
            .iter()
            .any(|end| route.path.ends_with(end));
        assert_eq!(
            status == StatusCode::UNAUTHORIZED,
            !open || problem["type"] == "urn:millwright:problem:token-unknown",
            "{method} {path} {problem}"
        );
    }
}
