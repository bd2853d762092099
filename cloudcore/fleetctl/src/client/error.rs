//! Why a request was not answered as hoped.

use std::error::Error as _;

use fleet_api::Problem;
use reqwest::{Response, StatusCode, Url};
use thiserror::Error;

use crate::exit::Exit;

/// Most characters of an answer that is no problem document to quote.
const QUOTED_CHARS_MAX: usize = 200;

/// Why a request was not answered as hoped.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// The address of cloudcore cannot be meant.
    #[error("`{url}` is not an address of cloudcore: {problem}")]
    Address { url: String, problem: String },
    /// The pin cannot be meant.
    #[error("--ca-pin: {0}; `caPin` in cloudcore's addresses.json is the right one")]
    Pin(String),
    /// Nobody answers.
    #[error(
        "cannot reach cloudcore at {url}: {problem}; check the address, and that `cloudcore serve` runs there"
    )]
    Unreachable { url: String, problem: String },
    /// Somebody answers who is not the pinned cloudcore.
    #[error(
        "the server at {url} is not the cloudcore that was pinned: {problem}; compare --ca-pin with `caPin` in cloudcore's addresses.json, and log in again if the fleet has a new root"
    )]
    NotTrusted { url: String, problem: String },
    /// The connection broke, or nothing came for too long.
    #[error("the connection to cloudcore at {url} broke: {problem}; try again")]
    Broken { url: String, problem: String },
    /// cloudcore refused.
    #[error("{}", refused(.0))]
    Refused(Box<Problem>),
    /// An answer of another form than this version knows.
    #[error(
        "the answer of cloudcore to {path} cannot be read: {problem}; is fleetctl of the same version as cloudcore?"
    )]
    Answer {
        path: String,
        problem: serde_json::Error,
    },
}

impl ClientError {
    /// A failure below HTTP.
    pub(super) fn transport(url: &Url, error: reqwest::Error) -> Self {
        let url = url.origin().ascii_serialization();
        if let Some(problem) = certificate_refusal(&error) {
            return Self::NotTrusted { url, problem };
        }
        let problem = innermost(&error);
        if error.is_connect() || error.is_builder() {
            Self::Unreachable { url, problem }
        } else {
            Self::Broken { url, problem }
        }
    }

    /// An answer that is not a success.
    pub(super) async fn refusal(response: Response) -> Self {
        let status = response.status();
        let path = response.url().path().to_owned();
        let body = response.bytes().await.unwrap_or_default();
        Self::Refused(Box::new(serde_json::from_slice(&body).unwrap_or_else(
            |_| {
                // A proxy in between answers with pages of its own.
                let text = String::from_utf8_lossy(&body);
                let quoted: String = text
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(QUOTED_CHARS_MAX)
                    .collect();
                Problem {
                    kind: "about:blank".to_owned(),
                    title: status.to_string(),
                    status: status.as_u16(),
                    detail: format!("{path} answered {status}: {quoted}"),
                    field: None,
                    hint: None,
                }
            },
        )))
    }

    /// The HTTP status of a refusal.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(problem) => StatusCode::from_u16(problem.status).ok(),
            Self::Address { .. }
            | Self::Pin(_)
            | Self::Unreachable { .. }
            | Self::NotTrusted { .. }
            | Self::Broken { .. }
            | Self::Answer { .. } => None,
        }
    }

    /// Whether the same request may be answered a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused(problem) => problem.status >= 500,
            Self::Address { .. } | Self::Pin(_) | Self::NotTrusted { .. } | Self::Answer { .. } => {
                false
            }
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } | Self::Pin(_) | Self::Answer { .. } => Exit::Failed,
            Self::Unreachable { .. } | Self::NotTrusted { .. } | Self::Broken { .. } => {
                Exit::Unreachable
            }
            Self::Refused(problem) => match problem.status {
                401 | 403 => Exit::Unauthenticated,
                404 => Exit::NotFound,
                409 => Exit::Conflict,
                400 | 413 | 422 => Exit::Refused,
                _ => Exit::Failed,
            },
        }
    }
}

fn refused(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    if let Some(field) = problem
        .field
        .as_ref()
        .filter(|field| !text.contains(*field))
    {
        text.push_str(&format!(" (at {field})"));
    }
    match &problem.hint {
        Some(hint) if !text.contains(hint) => text.push_str(&format!(": {hint}")),
        Some(_) => {}
        None if problem.status == 401 => {
            text.push_str(": log in again with `fleetctl login`");
        }
        None => {}
    }
    text
}

/// What went wrong at the bottom; the wrappers above say nothing that helps.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Why the server's certificate was refused, when that is what failed.
fn certificate_refusal(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(rustls::Error::InvalidCertificate(refusal)) = source.downcast_ref() {
            return Some(match refusal {
                rustls::CertificateError::Other(other) => other.0.to_string(),
                known => known.to_string(),
            });
        }
        // An `io::Error` passes over the error it was made of in `source`.
        let inner = source.downcast_ref().and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => source.source(),
        };
    }
    None
}
