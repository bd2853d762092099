//! The HTTP endpoint, byte by byte as a client sends and sees it.

use std::net::SocketAddr;

use edge_agent::serving::repository::Repository;
use edge_agent::serving::{self, models::ActiveModels};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{recorder, sensor_rows, worker};

const INFER: &str = "/v2/models/shuttle-anomaly/infer";

/// An endpoint with the sensor model, and one more model expected that is not there.
async fn endpoint() -> (SocketAddr, ActiveModels) {
    let recorder = recorder();
    let models = ActiveModels::new(recorder.clone());
    models.activate(worker("1.0.0").await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = serving::router(models.clone(), recorder, Repository::Fleet);
    tokio::spawn(serving::serve(listener, router, std::future::pending()));
    (address, models)
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = if headers.starts_with("Content-Length: ") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Reply {
        status: head[9..12].parse().unwrap(),
        head: head.to_lowercase(),
        body: answer[end + 4..].to_vec(),
    }
}

async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, "GET", path, "", b"").await
}

#[tokio::test]
async fn health_and_metadata_are_those_of_the_active_models() {
    let (address, models) = endpoint().await;
    for path in ["/health", "/v2/health/ready", "/v2/health/live"] {
        assert_eq!(get(address, path).await.status, 200, "{path}");
    }
    let extensions = get(address, "/v2").await.json()["extensions"].clone();
    for name in [
        "binary_tensor_data",
        "classification",
        "sequence",
        "statistics",
    ] {
        assert!(
            extensions.as_array().unwrap().contains(&json!(name)),
            "{name}"
        );
    }
    let metadata = get(address, "/v2/models/shuttle-anomaly/versions/1.0.0")
        .await
        .json();
    assert_eq!(metadata["versions"], json!(["1.0.0"]));
    assert_eq!(
        metadata["inputs"],
        json!([{"name": "sensors", "datatype": "FP32", "shape": [-1, 9]}])
    );
    for path in [
        "/v2/models/shuttle-anomaly/versions/9/ready",
        "/v2/models/nobody/ready",
        "/v3",
    ] {
        assert_eq!(get(address, path).await.status, 404, "{path}");
    }
    models.expect(["shuttle-anomaly".parse().unwrap(), "late".parse().unwrap()].into());
    let health = get(address, "/health").await;
    assert_eq!(
        (health.status, &health.json()["models"]),
        (503, &json!(["late"]))
    );
    assert_eq!(get(address, "/v2/models/late/ready").await.status, 503);
    assert_eq!(get(address, "/v2/health/live").await.status, 200);
}

#[tokio::test]
async fn json_and_binary_requests_give_the_same_numbers() {
    let (address, _models) = endpoint().await;
    let rows = &sensor_rows(2).tensors[0].data;
    let numbers: Vec<u32> = (0..18).collect();
    let tensor = |rest: Value| {
        let mut tensor = json!({"name": "sensors", "datatype": "FP32", "shape": [2, 9]});
        tensor
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        tensor
    };
    let body = json!({"id": "a", "inputs": [tensor(json!({"data": numbers}))]}).to_string();
    let plain = send(address, "POST", INFER, "", body.as_bytes()).await;
    let plain_json = plain.json();
    assert_eq!(
        (plain.status, &plain_json["id"]),
        (200, &json!("a")),
        "{plain_json}"
    );
    let scores: Vec<f32> =
        serde_json::from_value(plain_json["outputs"][1]["data"].clone()).unwrap();

    let header = json!({
        "inputs": [tensor(json!({"parameters": {"binary_data_size": rows.len()}}))],
        "outputs": [{"name": "scores", "parameters": {"binary_data": true}}],
    })
    .to_string();
    let length = format!("Inference-Header-Content-Length: {}\r\n", header.len());
    let body = [header.as_bytes(), rows].concat();
    let binary = send(address, "POST", INFER, &length, &body).await;
    assert_eq!(binary.status, 200, "{}", binary.head);
    let bytes: Vec<u8> = scores
        .iter()
        .flat_map(|score| score.to_le_bytes())
        .collect();
    let split = binary.body.len() - bytes.len();
    assert_eq!(binary.body[split..], bytes);
    assert!(
        binary
            .head
            .contains(&format!("inference-header-content-length: {split}"))
    );
    assert!(
        binary
            .head
            .contains(&format!("content-length: {}", binary.body.len()))
    );
    let outputs: Value = serde_json::from_slice(&binary.body[..split]).unwrap();
    assert_eq!(outputs["outputs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_requests_have_the_status_that_says_whose_fault_it_is() {
    let (address, _models) = endpoint().await;
    let check = async |path: &str, headers: &str, body: &str, status: u16| {
        let reply = send(address, "POST", path, headers, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{path} {headers} {body}");
        assert!(!reply.json()["error"].as_str().unwrap().is_empty());
    };
    let shape = r#"{"inputs":[{"name":"sensors","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    check(INFER, "", shape, 400).await;
    check(INFER, "", "{", 400).await;
    check(INFER, "Inference-Header-Content-Length: 99\r\n", "{}", 400).await;
    check(INFER, "Inference-Header-Content-Length: x\r\n", "{}", 400).await;
    check(INFER, "Content-Length: 68719476736\r\n", "", 413).await;
    check(INFER, "Content-Encoding: gzip\r\n", "{}", 415).await;
    check("/v2/models/nobody/infer", "", shape, 404).await;
    check("/v2/models/..%2Fetc/infer", "", shape, 404).await;
    check("/health", "", "", 405).await;
    let metrics = String::from_utf8(get(address, "/metrics").await.body).unwrap();
    let errors = r#"millwright_inference_errors_total{model="shuttle-anomaly",version="1.0.0",class="shape"} 1"#;
    assert!(metrics.contains(errors), "{metrics}");
}

#[tokio::test]
async fn more_bodies_than_memory_is_meant_for_are_told_to_come_back() {
    let (address, _models) = endpoint().await;
    // Two clients announce the largest body there may be and send nothing of it.
    let head = format!(
        "POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        64 << 20
    );
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let busy = async { while send(address, "POST", INFER, "", b"{}").await.status != 429 {} };
    tokio::time::timeout(crate::support::DEADLINE, busy)
        .await
        .unwrap();
    drop(slow);
    let free = async { while send(address, "POST", INFER, "", b"{}").await.status != 400 {} };
    tokio::time::timeout(crate::support::DEADLINE, free)
        .await
        .unwrap();
}
