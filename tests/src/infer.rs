//! A client of the Open Inference Protocol with binary tensors, and a load of many of its requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::wait::until;

/// A request that takes longer has failed: the line has moved on.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One input of 32-bit floats.
#[derive(Clone, Debug)]
pub struct Input {
    /// The input's name in the model.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The version that answered.
    pub version: String,
    /// Outputs by name.
    pub outputs: BTreeMap<String, Output>,
}

/// One output, as its bytes on the wire.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its datatype, for example `FP32`.
    pub datatype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Little-endian values, row-major.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Its values, when they are 32-bit floats.
    ///
    /// # Errors
    /// When they are something else.
    pub fn floats(&self) -> Result<Vec<f32>> {
        ensure!(
            self.datatype == "FP32",
            "the output is {}, not FP32",
            self.datatype
        );
        let (values, rest) = self.bytes.as_chunks::<4>();
        ensure!(
            rest.is_empty(),
            "{} bytes are not whole floats",
            self.bytes.len()
        );
        Ok(values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect())
    }
}

#[derive(Deserialize)]
struct Header {
    model_version: Option<String>,
    outputs: Vec<OutputHeader>,
}

#[derive(Deserialize)]
struct OutputHeader {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data_size: Option<usize>,
}

/// Talks to one agent.
#[derive(Clone)]
pub struct InferClient {
    http: reqwest::Client,
    base: String,
}

impl InferClient {
    /// A client of the agent at `address`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(address: SocketAddr) -> Result<Self> {
        // reqwest wants a TLS provider even though the agent's own port speaks plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("making an HTTP client")?;
        Ok(Self {
            http,
            base: format!("http://{address}"),
        })
    }

    /// The status and body of a GET.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The status and body of a POST.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<(u16, String)> {
        let answer = self
            .http
            .post(format!("{}{path}", self.base))
            .body(body)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The status and body of a POST of JSON.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn post_json(&self, path: &str, body: String) -> Result<(u16, String)> {
        let answer = self
            .http
            .post(format!("{}{path}", self.base))
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// One inference with binary tensors in both directions.
    ///
    /// # Errors
    /// When it fails or the answer is malformed.
    pub async fn infer(&self, model: &str, inputs: &[Input]) -> Result<Reply> {
        let (header_length, body) = encode(inputs);
        let answer = self
            .http
            .post(format!("{}/v2/models/{model}/infer", self.base))
            .header("Inference-Header-Content-Length", header_length)
            .body(body)
            .send()
            .await
            .context("sending the request")?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{status}: {}", answer.text().await.unwrap_or_default());
        }
        let header_length = match answer.headers().get("Inference-Header-Content-Length") {
            Some(length) => Some(length.to_str()?.parse::<usize>()?),
            None => None,
        };
        let body = answer.bytes().await.context("reading the answer")?;
        decode(&body, header_length.unwrap_or(body.len()))
    }
}

fn encode(inputs: &[Input]) -> (usize, Vec<u8>) {
    let described: Vec<_> = inputs
        .iter()
        .map(|input| {
            serde_json::json!({
                "name": input.name, "shape": input.shape, "datatype": "FP32",
                "parameters": {"binary_data_size": input.values.len() * 4},
            })
        })
        .collect();
    let header =
        serde_json::json!({"inputs": described, "parameters": {"binary_data_output": true}});
    let mut body = header.to_string().into_bytes();
    let header_length = body.len();
    for input in inputs {
        body.extend(input.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    (header_length, body)
}

fn decode(body: &[u8], header_length: usize) -> Result<Reply> {
    let (header, mut binary) = body
        .split_at_checked(header_length)
        .context("the answer is shorter than its header")?;
    let header: Header = serde_json::from_slice(header).context("reading the answer's header")?;
    let mut outputs = BTreeMap::new();
    for output in header.outputs {
        let size = output
            .parameters
            .binary_data_size
            .context("an output is not binary")?;
        let (bytes, rest) = binary
            .split_at_checked(size)
            .context("an output is cut short")?;
        binary = rest;
        let OutputHeader {
            name,
            datatype,
            shape,
            ..
        } = output;
        outputs.insert(
            name,
            Output {
                datatype,
                shape,
                bytes: bytes.to_vec(),
            },
        );
    }
    Ok(Reply {
        version: header.model_version.unwrap_or_default(),
        outputs,
    })
}

/// Requests that keep coming until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    senders: JoinSet<LoadReport>,
}

/// What became of the requests of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Latency of every answered request in milliseconds, by the version that answered.
    pub latency_ms: BTreeMap<String, Vec<f64>>,
    /// What went wrong, one entry per failed request.
    pub failures: Vec<String>,
}

impl LoadReport {
    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.latency_ms.values().map(Vec::len).sum()
    }

    fn merge(&mut self, other: Self) {
        for (version, mut latencies) in other.latency_ms {
            self.latency_ms
                .entry(version)
                .or_default()
                .append(&mut latencies);
        }
        self.failures.extend(other.failures);
    }
}

impl Load {
    /// Starts `senders` clients, each sending its next request `pause` after its last answer.
    #[must_use]
    pub fn start(
        client: &InferClient,
        model: &str,
        inputs: &[Input],
        senders: usize,
        pause: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..senders {
            let (client, model, inputs) = (client.clone(), model.to_owned(), inputs.to_vec());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tasks.spawn(async move {
                let mut report = LoadReport::default();
                while !stop.load(Ordering::SeqCst) {
                    let begin = Instant::now();
                    match client.infer(&model, &inputs).await {
                        Ok(reply) => {
                            let latency_ms = begin.elapsed().as_secs_f64() * 1_000.0;
                            report
                                .latency_ms
                                .entry(reply.version)
                                .or_default()
                                .push(latency_ms);
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => report.failures.push(format!("{error:#}")),
                    }
                    tokio::time::sleep(pause).await;
                }
                report
            });
        }
        Self {
            stop,
            answered,
            senders: tasks,
        }
    }

    /// Waits until one more of its requests than now has been answered.
    ///
    /// # Errors
    /// When none is answered within `limit`.
    pub async fn until_another_answer(&self, limit: Duration) -> Result<()> {
        let before = self.answered.load(Ordering::SeqCst);
        until("another answer to the load", limit, async || {
            Ok((self.answered.load(Ordering::SeqCst) > before).then_some(()))
        })
        .await
    }

    /// Stops sending, waits for the last answers and tells what became of them all.
    ///
    /// # Errors
    /// When a sender panicked.
    pub async fn stop(mut self) -> Result<LoadReport> {
        self.stop.store(true, Ordering::SeqCst);
        let mut report = LoadReport::default();
        while let Some(sender) = self.senders.join_next().await {
            report.merge(sender.context("a sender of the load panicked")?);
        }
        Ok(report)
    }
}

/// The `q`-quantile (0 to 1) of unsorted values, by the nearest rank; `None` of nothing.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().checked_sub(1)?))
        .copied()
}
