//! Keeps the node's certificate good: renews it in time, and gets back one that ran out while the node was away.
//!
//! ```text
//!   due ──> new TLS key, CSR ──POST uid──> challenge, time
//!    ^                        ──POST challenge, CSR, proof by the identity key──> chain
//!    |                                                                              |
//!    '── next renewal <── in use <── tls.pem replaced in one step <── checked <─────'
//! ```
//! When is decided in [`edge_core::renewal`]. What proves the node is its identity key, not its certificate, so a
//! certificate that is over is no obstacle; cloudcore is known by the root as in every session. The new certificate is
//! durable before it is used, and used from the next handshake on: no session is cut for it. Whatever fails leaves the
//! certificate as it was, is told once per kind of failure, and is tried again.
//!
//! The task also writes the time floor down (see [`crate::clock`]), because it is told the time most often.

mod request;
mod task;

use std::sync::Arc;

use edge_core::renewal::Failure;
use millwright_identity::{IdentityError, TlsError};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connect::Connector;
use crate::data_dir::DataDirError;
use crate::https::RequestError;
use crate::identity::{StoredIdentity, StoredIdentityError};
use crate::journal::Journal;
use crate::link::LinkState;

/// What there is to say about the node's certificate. Times in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// When it began.
    pub not_before: u64,
    /// When it ends.
    pub not_after: u64,
    /// When it will be renewed, failures aside.
    pub next_renewal: u64,
    /// The time the node judges certificates at; its wall clock may say something else.
    pub judged_at: u64,
    /// When this process renewed it last.
    pub renewed_at: Option<u64>,
    /// Why the last attempt to renew it failed, or why the renewed one is not on the disk; `None` after a success.
    pub last_error: Option<String>,
}

impl CertificateFacts {
    /// Whether it is over, so that cloudcore lets the node in only after a renewal.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.judged_at > self.not_after
    }
}

/// Why the certificate was not renewed.
#[derive(Debug, Error)]
pub enum RenewError {
    /// A file of the identity.
    #[error(transparent)]
    Identity(#[from] StoredIdentityError),
    /// Cloudcore was not reached or said no.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A key could not be made or used.
    #[error("cannot {0}")]
    Key(&'static str, #[source] rcgen::Error),
    /// The fleet's root cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Cloudcore's answer does not fit the question.
    #[error("cloudcore's answer to the renewal cannot be used: {0}")]
    Answer(String),
    /// The certificate names no node.
    #[error("cloudcore's answer to the renewal cannot be used")]
    Certificate(#[from] IdentityError),
    /// The time floor cannot be kept.
    #[error(transparent)]
    File(#[from] DataDirError),
}

impl RenewError {
    fn kind(&self) -> Failure {
        match self {
            Self::Request(RequestError::Refused(refusal)) if refusal.is_final() => Failure::Refused,
            Self::Request(_)
            | Self::Identity(_)
            | Self::Key(..)
            | Self::Tls(_)
            | Self::Answer(_)
            | Self::Certificate(_)
            | Self::File(_) => Failure::Unreachable,
        }
    }
}

/// What the renewal stands on.
#[derive(Debug)]
pub struct Parts {
    /// Whose certificate.
    pub identity: Arc<StoredIdentity>,
    /// `host:port` of cloudcore's HTTPS endpoint.
    pub cloud: String,
    /// How TCP gets there: the way sessions take, also through a proxy.
    pub connector: Connector,
    /// Tells whether a session lives.
    pub link: watch::Receiver<LinkState>,
    /// What cloudcore says the time is, in Unix milliseconds, each time it says so.
    pub server_time_ms: watch::Receiver<u64>,
    /// Gets what people should know.
    pub journal: Journal,
}

/// The renewal, running.
#[derive(Debug)]
pub struct Renewal {
    facts: watch::Receiver<CertificateFacts>,
    task: JoinHandle<()>,
}

impl Renewal {
    /// Starts it.
    #[must_use]
    pub fn spawn(parts: Parts) -> Self {
        let (task, facts) = task::Task::new(parts);
        Self {
            facts,
            task: tokio::spawn(task.run()),
        }
    }

    /// What there is to say about the certificate, and every change of it.
    #[must_use]
    pub fn facts(&self) -> watch::Receiver<CertificateFacts> {
        self.facts.clone()
    }

    /// Ends it, at once: whatever it is doing, the certificate is the old one or the new one.
    pub async fn end(self) {
        self.task.abort();
        // An error says that it was aborted.
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests;
