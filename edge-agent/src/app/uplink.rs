//! Everything between this node and the cloud that needs the disk first: the outbox, then the link.
//!
//! ```text
//! start ─▶ open the outbox (again and again, while the disk refuses) ─▶ dial ─▶ ... ─▶ goodbye ─▶ close
//! ```
//!
//! Models are served meanwhile and whatever happens here: a node that boots without an uplink, with a
//! large outbox to read, or with a disk that is full or read-only, answers requests all the same.
//! What wants to store or to fetch finds the outbox and the link once they are there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millwright_proto::Digest;
use millwright_proto::link::Applied;
use millwright_summary::LinkStats;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::stop::Stop;
use crate::control::chain;
use crate::data_dir::free_bytes;
use crate::fetch::BlobSource;
use crate::hard_examples::answer::Answers;
use crate::journal::{Journal, Severity};
use crate::link::{
    BlobBody, BlobClient, Link, LinkChannels, LinkConfig, LinkState, LinkStatus, LinkTotals,
    ReceivedDesired,
};
use crate::status::Since;
use crate::storage::{Part, StorageHealth};
use crate::store::{Outbox, OutboxLimits, StoreError};

/// How soon the outbox is tried again: a person frees space and looks.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Longest time the link gets to send what is left and say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(3);

type ReadTotals = Box<dyn Fn() -> LinkTotals + Send + Sync>;

/// What the uplink is made of.
pub(super) struct UplinkParts {
    pub(super) config: LinkConfig,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) outbox: PathBuf,
    /// How much disk the outbox may use.
    pub(super) limits: OutboxLimits,
    /// Where it is kept what worked on which network.
    pub(super) networks: PathBuf,
    /// Answers operators of the cloud.
    pub(super) hard_examples: Arc<Answers>,
    pub(super) storage: StorageHealth,
    pub(super) journal: Journal,
}

/// The way to the cloud, open or not yet.
pub(super) struct Uplink {
    outbox: watch::Receiver<Option<Outbox>>,
    state: watch::Receiver<LinkState>,
    since: watch::Receiver<Since<LinkState>>,
    blobs: LateBlobs,
    totals: Arc<OnceLock<ReadTotals>>,
    received: watch::Receiver<Option<ReceivedDesired>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The control loop's ends.
pub(super) struct UplinkEnds {
    pub(super) received: watch::Receiver<Option<ReceivedDesired>>,
    pub(super) applied: watch::Sender<Applied>,
    pub(super) server_time_ms: watch::Receiver<u64>,
}

/// What the task tells the others.
struct Outlets {
    outbox: watch::Sender<Option<Outbox>>,
    state: watch::Sender<LinkState>,
    since: watch::Sender<Since<LinkState>>,
    blobs: watch::Sender<Option<BlobClient>>,
    totals: Arc<OnceLock<ReadTotals>>,
}

impl Uplink {
    /// Begins; nothing has to be waited for.
    pub(super) fn start(parts: UplinkParts, stop: &Stop) -> (Self, UplinkEnds) {
        let offline = LinkState {
            status: LinkStatus::Connecting,
            last_error: None,
        };
        let (state_sender, state) = watch::channel(offline.clone());
        let (since_sender, since) = watch::channel(Since::now(offline));
        let (outbox_sender, outbox) = watch::channel(None);
        let (blobs_sender, blobs) = watch::channel(None);
        let (desired, received) = watch::channel(None);
        let (applied, applied_receiver) = watch::channel(Applied::default());
        let (time_sender, server_time_ms) = watch::channel(0);
        let totals = Arc::new(OnceLock::new());
        let channels = LinkChannels {
            desired,
            applied: applied_receiver,
            server_time_ms: time_sender,
            hard_examples: Arc::clone(&parts.hard_examples),
        };
        let outlets = Outlets {
            outbox: outbox_sender,
            state: state_sender,
            since: since_sender,
            blobs: blobs_sender,
            totals: Arc::clone(&totals),
        };
        let (stop_sender, ended) = oneshot::channel();
        let task = tokio::spawn(run(parts, channels, outlets, stop.clone(), ended));
        let uplink = Self {
            outbox,
            state,
            since,
            blobs: LateBlobs(blobs),
            totals,
            received: received.clone(),
            stop: stop_sender,
            task,
        };
        let ends = UplinkEnds {
            received,
            applied,
            server_time_ms,
        };
        (uplink, ends)
    }

    /// The outbox, once it is open.
    pub(super) fn outbox(&self) -> watch::Receiver<Option<Outbox>> {
        self.outbox.clone()
    }

    /// How the link is doing.
    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// The same with the time it began.
    pub(super) fn since(&self) -> watch::Receiver<Since<LinkState>> {
        self.since.clone()
    }

    /// The newest desired state the cloud sent in this run, in force or not.
    pub(super) fn received(&self) -> watch::Receiver<Option<ReceivedDesired>> {
        self.received.clone()
    }

    /// Fetches blobs over whichever transport is up.
    pub(super) fn blobs(&self) -> LateBlobs {
        self.blobs.clone()
    }

    /// Reads what the link has done since the start.
    pub(super) fn stats(&self) -> Box<dyn Fn() -> LinkStats + Send + Sync> {
        let totals = Arc::clone(&self.totals);
        Box::new(move || {
            let totals = totals.get().map(|read| read()).unwrap_or_default();
            LinkStats {
                connected_ms: totals.connected_ms,
                quic_ms: totals.quic_ms,
                websocket_ms: totals.websocket_ms,
                reconnects: totals.reconnects,
                sent_bytes: totals.sent_bytes,
                received_bytes: totals.received_bytes,
            }
        })
    }

    /// Says goodbye to the cloud and closes the outbox; call it when everybody has stored what they
    /// had.
    pub(super) async fn end(self) {
        let open = self.outbox.borrow().clone();
        // An error means that it has ended already.
        let _ = self.stop.send(());
        super::running::ended("uplink", self.task).await;
        if let Some(outbox) = open {
            outbox.close().await;
        }
    }
}

/// Ends on `stop` while the outbox is not open, else when everybody has stored what they had.
async fn run(
    parts: UplinkParts,
    channels: LinkChannels,
    outlets: Outlets,
    stop: Stop,
    mut ended: oneshot::Receiver<()>,
) {
    let outbox = tokio::select! {
        outbox = open(&parts) => outbox,
        () = stop.wait() => return,
    };
    let UplinkParts {
        config,
        tls,
        networks,
        journal,
        ..
    } = parts;
    // The journal's writer waits until nobody has anything more to say.
    drop(journal);
    let link = Link::spawn(config, &tls, outbox.clone(), Some(networks), channels);
    // Read by whoever asks from now on; set once, by this task.
    let _ = outlets.totals.set(Box::new(link.totals_reader()));
    outlets.blobs.send_replace(Some(link.blobs()));
    outlets.outbox.send_replace(Some(outbox));
    let mut state = link.state();
    loop {
        let now = state.borrow_and_update().clone();
        outlets
            .since
            .send_if_modified(|since| since.update(now.clone()));
        outlets.state.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        tokio::select! {
            changed = state.changed() => if changed.is_err() { break },
            _ = &mut ended => break,
        }
    }
    if tokio::time::timeout(GOODBYE_LIMIT, link.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("the link did not end within {GOODBYE_LIMIT:?}");
    }
}

/// Opens the outbox as soon as the disk lets it.
async fn open(parts: &UplinkParts) -> Outbox {
    loop {
        let opened = match room(&parts.outbox, parts.limits) {
            Ok(()) => Outbox::open(parts.outbox.clone(), parts.limits).await,
            Err(error) => Err(error),
        };
        let told = match &opened {
            Ok(_) => Ok(()),
            Err(error) => Err(chain(error)),
        };
        parts.storage.note(Part::Outbox, &told);
        if let Ok((outbox, notes)) = opened {
            for note in notes {
                let note = note.to_string();
                parts
                    .journal
                    .record(Severity::Warning, "StoreRecovered", None, &note);
            }
            return outbox;
        }
        tokio::time::sleep(OPEN_AGAIN_AFTER).await;
    }
}

/// A store that is opened on a full disk cannot tell a damaged file from one it may not write, so it is
/// not even tried: what lies there is sound and waits for room.
fn room(outbox: &Path, limits: OutboxLimits) -> Result<(), StoreError> {
    let needed_bytes = limits.free_bytes_min;
    match free_bytes(outbox) {
        Some(free_bytes) if free_bytes < needed_bytes => Err(StoreError::DiskFull {
            directory: outbox.to_owned(),
            free_bytes,
            needed_bytes,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The cloud as a source of blobs, once there is a link.
#[derive(Clone)]
pub(super) struct LateBlobs(watch::Receiver<Option<BlobClient>>);

impl BlobSource for LateBlobs {
    type Body = BlobBody;

    async fn fetch(&self, digest: Digest, offset: u64, length: u64) -> Result<BlobBody, String> {
        let client = self.0.borrow().clone();
        match client {
            Some(client) => BlobSource::fetch(&client, digest, offset, length).await,
            None => Err(format!(
                "cannot fetch blob {digest}: the outbox is not open, so there is no connection to cloudcore yet"
            )),
        }
    }
}
