//! Hard examples of a node: the list, and files as they come.

use bytes::{Buf as _, Bytes, BytesMut};
use fleet_api::{HardExampleFetch, HardExampleList, HardExamplePiece, HardExampleRef};
use reqwest::{Method, Response};

use super::{Client, ClientError, append};

/// Longest line of the answer to a fetch: names, or a problem with its hint.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Largest chunk that is taken: twice what cloudcore sends.
const CHUNK_BYTES_MAX: u64 = 64 * 1024;

impl Client {
    /// A page of the examples of `node`.
    pub(crate) async fn hard_examples(
        &self,
        node: &str,
        pipeline: Option<&str>,
        after: Option<&str>,
    ) -> Result<HardExampleList, ClientError> {
        let mut url = self.url(&["nodes", node, "hard-examples"]);
        append(&mut url, "pipeline", pipeline);
        append(&mut url, "continue", after);
        self.read(url).await
    }

    /// Files of `examples`, as they come.
    pub(crate) async fn fetch_hard_examples(
        &self,
        node: &str,
        examples: Vec<HardExampleRef>,
    ) -> Result<Arrival, ClientError> {
        let url = self.url(&["nodes", node, "hard-examples", "fetch"]);
        let request = self.request(Method::POST, url);
        let request = request.json(&HardExampleFetch { examples });
        Ok(Arrival {
            response: self.send(request).await?,
            waiting: BytesMut::new(),
        })
    }
}

/// The answer to a fetch, being read.
pub(crate) struct Arrival {
    response: Response,
    waiting: BytesMut,
}

impl Arrival {
    /// The next line.
    pub(crate) async fn next(&mut self) -> Result<HardExamplePiece, ClientError> {
        let end = loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.waiting.len() > LINE_BYTES_MAX {
                return Err(self.broken("a line without end"));
            }
            self.more().await?;
        };
        let line = self.waiting.split_to(end);
        self.waiting.advance(1);
        serde_json::from_slice(&line).map_err(|problem| ClientError::Answer {
            path: self.response.url().path().to_owned(),
            problem,
        })
    }

    /// The bytes of the chunk whose line was read last.
    pub(crate) async fn chunk(&mut self, bytes: u64) -> Result<Bytes, ClientError> {
        let length = usize::try_from(bytes.min(CHUNK_BYTES_MAX + 1)).unwrap_or(usize::MAX);
        if bytes > CHUNK_BYTES_MAX {
            return Err(self.broken("a chunk that is too large"));
        }
        while self.waiting.len() < length {
            self.more().await?;
        }
        Ok(self.waiting.split_to(length).freeze())
    }

    async fn more(&mut self) -> Result<(), ClientError> {
        let piece = self.response.chunk().await;
        match piece.map_err(|error| ClientError::transport(self.response.url(), error))? {
            Some(piece) => {
                self.waiting.extend_from_slice(&piece);
                Ok(())
            }
            None => Err(self.broken("the answer ended before everything had come")),
        }
    }

    fn broken(&self, problem: &str) -> ClientError {
        ClientError::Broken {
            url: self.response.url().origin().ascii_serialization(),
            problem: problem.to_owned(),
        }
    }
}
