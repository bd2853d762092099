//! Blobs and model versions.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use millwright_package::{FileEntry, FileList, SigningKey};
use millwright_proto::Digest;
use serde_json::{Value, json};

use super::{Server, names, object};

const MANIFEST: &str = "\
apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: press, version: 1.0.0, license: MIT}
spec:
  file: model.onnx
  inputs: [{name: x, datatype: FP32, shape: [1]}]
  outputs: [{name: y, datatype: FP32, shape: [1]}]
";

async fn upload(server: &Server, content: &'static str) -> StatusCode {
    let path = format!("blobs/{}", Digest::of(content.as_bytes()));
    let request = server.request(Method::PUT, &path, content);
    server.send(request).await.status()
}

/// A model version whose files are these two.
fn version(manifest: &str, model: &str) -> Value {
    let entry = |path: &str, content: &str| FileEntry {
        path: path.parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
        size_bytes: content.len() as u64,
    };
    let entries = vec![entry("model.onnx", model), entry("model.yaml", manifest)];
    let files = FileList::new(entries).unwrap();
    let key = SigningKey::generate().unwrap();
    let bundle = key.sign(&files, &"press@1.0.0".parse().unwrap()).unwrap();
    let entries = files.entries().iter().map(|entry| {
        json!({"path": entry.path.to_string(), "digest": entry.digest, "sizeBytes": entry.size_bytes})
    });
    let files: Vec<_> = entries.collect();
    let spec = json!({"model": "press", "version": "1.0.0", "files": files, "bundle": bundle});
    object("ModelVersion", "press@1.0.0", spec)
}

async fn push(server: &Server, version: Value) -> (StatusCode, Value) {
    server.call(Method::POST, "modelversions", version).await
}

#[tokio::test]
async fn a_blob_is_stored_once_and_read_back_whole_or_in_part() {
    let server = Server::start().await;
    assert_eq!(upload(&server, "hello world").await, StatusCode::CREATED);
    assert_eq!(upload(&server, "hello world").await, StatusCode::OK);
    let path = format!("blobs/{}", Digest::of(b"hello world"));
    let mut request = server.request(Method::GET, &path, Body::empty());
    request
        .headers_mut()
        .insert("range", "bytes=6-".parse().unwrap());
    let response = server.send(request).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()["content-range"], "bytes 6-10/11");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "world");
    let wrong = format!("blobs/{}", Digest::of(b"other"));
    let response = server
        .send(server.request(Method::PUT, &wrong, "hello"))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let response = server
        .send(server.request(Method::HEAD, &wrong, Body::empty()))
        .await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_complete_package_becomes_an_immutable_version_with_its_model() {
    let server = Server::start().await;
    upload(&server, MANIFEST).await;
    upload(&server, "onnx").await;
    let (status, pushed) = push(&server, version(MANIFEST, "onnx")).await;
    assert_eq!(status, StatusCode::CREATED, "{pushed}");
    assert_eq!(pushed["status"]["license"], "MIT");
    assert_eq!(pushed["status"]["signedBy"].as_str().unwrap().len(), 64);
    assert_eq!(server.get("models/press").await["status"]["versions"], 1);
    let mut changed = pushed.clone();
    changed["spec"]["bundle"] = json!("");
    let path = "modelversions/press@1.0.0";
    let (status, problem) = server.call(Method::PUT, path, changed).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    server
        .create(
            "ModelDeployment",
            "modeldeployments",
            "d",
            json!({"model": "press", "version": "1.0.0"}),
        )
        .await;
    let (status, _) = server.call(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    server
        .call(Method::DELETE, "modeldeployments/d", Value::Null)
        .await;
    let (status, _) = server.call(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.get("models/press").await["status"]["versions"], 0);
}

#[tokio::test]
async fn an_incomplete_or_inconsistent_package_is_refused() {
    let server = Server::start().await;
    upload(&server, MANIFEST).await;
    let (status, problem) = push(&server, version(MANIFEST, "onnx")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["type"], "urn:millwright:problem:bad-package");
    assert_eq!(problem["field"], "spec.files[0]");
    upload(&server, "onnx").await;
    let mut other = version(MANIFEST, "onnx");
    other["spec"]["bundle"] = version(MANIFEST, "other")["spec"]["bundle"].clone();
    let (_, problem) = push(&server, other).await;
    assert_eq!(problem["field"], "spec.bundle", "{problem}");
    const NO_PROFILE: &str = "\
apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: press, version: 1.0.0, license: MIT}
spec:
  file: model.onnx
  inputs: [{name: x, datatype: FP32, shape: [1]}]
  outputs: [{name: y, datatype: FP32, shape: [1]}]
  profile: model.onnx
";
    upload(&server, NO_PROFILE).await;
    let (_, problem) = push(&server, version(NO_PROFILE, "onnx")).await;
    assert_eq!(problem["field"], "spec.profile", "{problem}");
    const TYPO: &str = "apiVersion: millwright/v1\nkind: ModelPackage\nmetdata: {}\n";
    upload(&server, TYPO).await;
    let (_, problem) = push(&server, version(TYPO, "onnx")).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("did you mean `metadata`?"), "{detail}");
    assert_eq!(names(&server.get("models").await), [""; 0]);
}
