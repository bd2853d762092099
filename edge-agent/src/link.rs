//! The link to cloudcore: one session at a time, over QUIC or WebSocket, for as long as the agent runs.
//!
//! Owns dialling, the session and the transfer of blobs. Which transport comes next is decided in
//! [`edge_core::link`], what to send in [`edge_core::outbox`], and what a message means in [`session`],
//! which does no IO. It does not know what a window or a desired document says.
//!
//! ```text
//!   outbox --offer--> session --frames--> wire (quic | ws) ===> cloudcore
//!   outbox <--ack---- session <--frames-- wire             <===
//!   desired (watch) <-'   applied (watch) --'      BlobClient --> streams beside the session
//!   hard examples: asked <-' answered, when nothing else waits --'
//! ```
//!
//! Persist, then send: what is offered, and the secret of a Welcome, is durable before the next byte
//! leaves. A broken link is normal and never an error for the rest of the agent: it shows in [`LinkState`].

mod blobs;
mod dial;
mod network;
mod quic;
mod run;
mod session;
mod totals;
mod wire;
mod ws;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use edge_core::link::{Probing, Transport};
use millwright_proto::Digest;
use millwright_proto::ids::{BootId, Generation, InstanceId, NodeUid};
use millwright_proto::link::{Applied, Platform};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connect::Connector;
use crate::hard_examples::answer::Answers;
use crate::store::Outbox;

pub use blobs::{BlobBody, BlobClient, BlobError};
pub use totals::LinkTotals;

/// Where cloudcore is and who this agent is. Addresses are `host:port`; at least one is needed.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// QUIC over UDP.
    pub quic: Option<String>,
    /// WebSocket over TLS.
    pub websocket: Option<String>,
    /// How TCP gets out of the plant.
    pub connector: Connector,
    /// How often QUIC is tried while WebSocket carries the session.
    pub probing: Probing,
    /// As in the certificate.
    pub node_uid: NodeUid,
    /// Random per process.
    pub instance: InstanceId,
    /// The kernel's boot id.
    pub boot: BootId,
    /// Version of the agent.
    pub agent_version: String,
    /// What this agent can do beyond the first version.
    pub capabilities: Vec<String>,
    /// What it runs on.
    pub platform: Platform,
}

/// How the link talks to the rest of the agent.
#[derive(Debug)]
pub struct LinkChannels {
    /// Gets the newest desired state received; its digest has been checked.
    pub desired: watch::Sender<Option<ReceivedDesired>>,
    /// What the node has made of its desired state; its generation and digest go into Hello.
    pub applied: watch::Receiver<Applied>,
    /// Gets the time cloudcore says in every Welcome, in Unix milliseconds.
    pub server_time_ms: watch::Sender<u64>,
    /// Answers what operators of the cloud ask about hard examples.
    pub hard_examples: Arc<Answers>,
}

/// A desired state as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedDesired {
    /// Its number.
    pub generation: Generation,
    /// The digest of `document`, checked.
    pub digest: Digest,
    /// An encoded `DesiredDocument`.
    pub document: Bytes,
}

/// How the link is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Now.
    pub status: LinkStatus,
    /// Why the last attempt or session ended.
    pub last_error: Option<String>,
}

/// What the link is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// No address of cloudcore is configured.
    Disabled,
    /// Dialling, or waiting to.
    Connecting,
    /// A session is live.
    Connected {
        /// What carries it.
        transport: Transport,
    },
    /// Cloudcore refuses this node; tried again rarely.
    Fenced {
        /// `revoked`, `cloned`, `superseded`, `identity`.
        reason: &'static str,
        /// What cloudcore says about it.
        message: String,
    },
}

/// The running link.
#[derive(Debug)]
pub struct Link {
    state: watch::Receiver<LinkState>,
    totals: totals::Totals,
    blobs: BlobClient,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts dialling. `tls` comes from `rooted_client_config`, without ALPN. What worked on which network
    /// is remembered in the file `memory`; without one only as long as the link runs.
    #[must_use]
    pub fn spawn(
        config: LinkConfig,
        tls: &Arc<rustls::ClientConfig>,
        outbox: Outbox,
        memory: Option<PathBuf>,
        channels: LinkChannels,
    ) -> Self {
        let (state_sender, state) = watch::channel(LinkState {
            status: LinkStatus::Connecting,
            last_error: None,
        });
        let (stop, stopped) = watch::channel(false);
        let totals = totals::Totals::default();
        let (channel_sender, channel) = watch::channel(None);
        let runner = run::Runner {
            dialers: dial::Dialers::new(&config, tls, &totals),
            networks: network::NetworkMemory::new(memory),
            config,
            outbox,
            desired: channels.desired,
            applied: channels.applied,
            server_time_ms: channels.server_time_ms,
            hard_examples: channels.hard_examples,
            state: state_sender,
            totals: totals.clone(),
            channel: channel_sender,
            stopped,
        };
        let task = tokio::spawn(runner.run());
        Self {
            state,
            totals,
            blobs: BlobClient::new(channel),
            stop,
            task,
        }
    }

    /// How the link is doing, and every change of it.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Time and bytes so far, for the link statistics of a window.
    #[must_use]
    pub fn totals(&self) -> LinkTotals {
        self.totals.read()
    }

    /// A cheap handle that reads [`Link::totals`] later.
    pub fn totals_reader(&self) -> impl Fn() -> LinkTotals + Clone + Send + Sync + 'static {
        let totals = self.totals.clone();
        move || totals.read()
    }

    /// Fetches blobs over whichever transport is up.
    #[must_use]
    pub fn blobs(&self) -> BlobClient {
        self.blobs.clone()
    }

    /// Says goodbye to cloudcore and ends.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // A panicked link has been reported by the panic itself.
        let _ = self.task.await;
    }
}
