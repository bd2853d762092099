//! The load generator: one connection, one request after the other, on a plain thread, written and read by hand.
//!
//! The same for ours and for every peer, over TCP and over Unix sockets. A client library would cost more than what is
//! measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millwright_tests::infer::Input;

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// No answer of the model here is as long.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// One connection that sends the same request again and again.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    /// Over TCP.
    pub(crate) fn tcp(address: SocketAddr, request: Vec<u8>) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self::new(Box::new(stream), request))
    }

    /// Over a Unix socket.
    pub(crate) fn unix(path: &Path, request: Vec<u8>) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", path.display()))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self::new(Box::new(stream), request))
    }

    fn new(stream: Box<dyn Stream>, request: Vec<u8>) -> Self {
        let answer = vec![0; ANSWER_BYTES_MAX];
        Self {
            stream,
            request,
            answer,
        }
    }

    /// One request and its whole answer.
    pub(crate) fn ask(&mut self) -> Result<()> {
        self.stream
            .write_all(&self.request)
            .context("sending a request")?;
        let mut filled = 0;
        let mut whole = None;
        while whole.is_none_or(|whole| filled < whole) {
            let read = self
                .stream
                .read(&mut self.answer[filled..])
                .context("reading an answer")?;
            ensure!(
                read > 0,
                "the server closed the connection within an answer"
            );
            filled += read;
            if whole.is_none() {
                whole = length(&self.answer[..filled])?;
            }
        }
        ensure!(whole == Some(filled), "more than one answer to one request");
        Ok(())
    }
}

/// Bytes of the whole answer; `None` while its header is not there.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let header = std::str::from_utf8(&answer[..end]).context("a header that is no text")?;
    if !header.starts_with("HTTP/1.1 200") {
        bail!("{}", String::from_utf8_lossy(answer));
    }
    let length = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some(
        end + 4 + length.context("an answer without its length")?,
    ))
}

/// A POST.
fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The Open Inference Protocol with binary tensors in both directions.
pub(crate) fn open_inference(model: &str, row: &Input) -> Vec<u8> {
    let bytes = bytes(row);
    let header = serde_json::json!({
        "inputs": [{
            "name": row.name, "shape": row.shape, "datatype": "FP32",
            "parameters": {"binary_data_size": bytes.len()},
        }],
        "parameters": {"binary_data_output": true},
    })
    .to_string();
    let headers = format!("inference-header-content-length: {}\r\n", header.len());
    let body = [header.as_bytes(), &bytes].concat();
    post(&format!("/v2/models/{model}/infer"), &headers, &body)
}

/// Raw floats, as `mosec_server.py` takes them.
pub(crate) fn mosec(row: &Input) -> Vec<u8> {
    post("/inference", "", &bytes(row))
}

/// JSON, as `litserve_server.py` takes it.
pub(crate) fn litserve(row: &Input) -> Vec<u8> {
    let body = serde_json::json!({"row": row.values}).to_string();
    post(
        "/predict",
        "content-type: application/json\r\n",
        body.as_bytes(),
    )
}

/// The values as they go over the wire.
pub(crate) fn bytes(row: &Input) -> Vec<u8> {
    row.values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
