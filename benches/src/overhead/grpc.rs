//! The same for gRPC: one HTTP/2 connection of hyper on a runtime of one thread, one call after the other.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use millwright_tests::infer::Input;
use prost::Message;

use super::REQUESTS;
use crate::http;

const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Compressed or not, and the length, before every message.
const PREFIX_BYTES: usize = 5;

/// What the bench needs of `ModelInferRequest`.
#[derive(Clone, PartialEq, Message)]
struct ModelInferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<InferTensor>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw_input_contents: Vec<Vec<u8>>,
}

/// What it needs of a tensor.
#[derive(Clone, PartialEq, Message)]
struct InferTensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

/// What it needs of `ModelInferResponse`.
#[derive(Clone, PartialEq, Message)]
struct ModelInferResponse {
    #[prost(bytes = "vec", repeated, tag = "6")]
    raw_output_contents: Vec<Vec<u8>>,
}

/// The median of [`REQUESTS`] calls, in microseconds. Call it where a runtime may block.
pub(super) fn p50_us(address: SocketAddr, model: &str, row: &Input) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut latencies = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let began = Instant::now();
            call(&mut sender, address, model, row).await?;
            latencies.push(began.elapsed().as_secs_f64() * 1e6);
        }
        super::p50_us(&latencies)
    })
}

/// One call, from the values of the row to those of the score.
async fn call(
    sender: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    model: &str,
    row: &Input,
) -> Result<()> {
    let message = ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferTensor {
            name: row.name.clone(),
            datatype: "FP32".to_owned(),
            shape: row.shape.iter().map(|length| *length as i64).collect(),
        }],
        raw_input_contents: vec![http::bytes(row)],
    };
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len())?);
    message.encode(&mut body)?;
    let request = Request::post(format!("http://{address}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.freeze()))?;
    sender.ready().await?;
    let answer = sender
        .send_request(request)
        .await
        .context("calling")?
        .into_body()
        .collect()
        .await?;
    let status = answer
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"));
    ensure!(
        status.is_some_and(|status| status == "0"),
        "the call failed: {status:?}"
    );
    let body = answer.to_bytes();
    let answer = ModelInferResponse::decode(body.get(PREFIX_BYTES..).context("an empty answer")?)?;
    ensure!(answer.raw_output_contents.len() == 1, "{answer:?}");
    Ok(())
}
