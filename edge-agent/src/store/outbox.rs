//! The outbox: records on their way to the cloud, durable from the moment [`Outbox::append`] returns.
//!
//! [`Outbox`] is a cheap handle to one thread ([`writer`]) that owns the store, so that disk waits
//! never block the runtime and every decision is taken in one order.

mod blocks;
mod contents;
mod merge;
mod stats;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;
use edge_core::link::Transport;
use edge_core::outbox::{Backlog, GapReason, Head, Room, Stream, Wear};
use millwright_proto::ids::Lineage;
use tokio::sync::{mpsc, oneshot, watch};

use super::{RecoveryNote, StoreError};
pub use stats::OutboxStats;
use writer::{Command, Writer};

/// Longest payload of one record. A window is about one network packet; this leaves room for many
/// models and for merging, and four of them still fit one frame.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// Commands that may wait for the writer. Appends are rare (windows, events), so a full queue means a
/// stuck disk, and then callers wait.
const COMMANDS_MAX: usize = 64;

/// Smallest quota: sled's files, a copy of them, and some days of hourly windows.
pub const QUOTA_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// How much disk the outbox may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes on disk, sled's own included. Default 64 MiB: a month of one-minute windows as they were recorded,
    /// years in coarser ones. At least [`QUOTA_BYTES_MIN`].
    pub quota_bytes: u64,
    /// Bytes that may be written in a day before windows become longer, to spare the flash; `None`, the
    /// default: as many as it takes.
    pub written_per_day_max_bytes: Option<u64>,
    /// Appends are refused when less is free on the disk. Default 16 MiB: room for the agent to
    /// restart and for sled to rewrite its last segments.
    pub free_bytes_min: u64,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            quota_bytes: 64 * 1024 * 1024,
            written_per_day_max_bytes: None,
            free_bytes_min: 16 * 1024 * 1024,
        }
    }
}

/// Where a record stands: what a later process compares to know that it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The outbox store.
    pub lineage: Lineage,
    /// Its number in its stream.
    pub sequence: u64,
}

/// What a Hello says about the outbox.
#[derive(Clone)]
pub struct Greeting {
    /// This outbox store.
    pub lineage: Lineage,
    /// From the last Welcome; empty before the first. Not printable on purpose.
    pub secret: Vec<u8>,
    /// The transport of the last session.
    pub worked: Option<Transport>,
    /// Per stream: the lowest sequence number still stored, and how far it has come.
    pub streams: Vec<(Stream, u64, Head)>,
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeting")
            .field("lineage", &self.lineage)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

/// One message of a stream, to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The stream.
    pub stream: Stream,
    /// First sequence number covered.
    pub first: u64,
    /// Last sequence number covered.
    pub last: u64,
    /// What it is.
    pub body: OutgoingBody,
}

/// A record or a declared loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingBody {
    /// The payload as it was appended.
    Record(Bytes),
    /// Why the numbers will never arrive.
    Gap(GapReason),
}

/// Handle to the outbox; clones share it. The store closes when [`Outbox::close`] returns or the last
/// handle is gone.
#[derive(Clone, Debug)]
pub struct Outbox {
    commands: mpsc::Sender<Command>,
    backlog: watch::Receiver<Backlog>,
    wear: watch::Receiver<Wear>,
    written_per_day_max_bytes: Option<u64>,
}

impl Outbox {
    /// Opens or makes the store in `directory`, repairing it if needed.
    ///
    /// # Errors
    /// When the directory cannot be used or another process uses it. Damage is not an error: it is in the notes.
    pub async fn open(
        directory: PathBuf,
        limits: OutboxLimits,
    ) -> Result<(Self, Vec<RecoveryNote>), StoreError> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (backlog_sender, backlog) = watch::channel(Backlog::default());
        let (wear_sender, wear) = watch::channel(Wear::default());
        let written_per_day_max_bytes = limits.written_per_day_max_bytes;
        let (opened_sender, opened) = oneshot::channel();
        let thread_error = directory.clone();
        std::thread::Builder::new()
            .name("outbox".to_owned())
            .spawn(
                move || match Writer::open(directory, limits, backlog_sender, wear_sender) {
                    Ok((writer, notes)) => {
                        drop(opened_sender.send(Ok(notes)));
                        writer.run(receiver);
                    }
                    Err(error) => drop(opened_sender.send(Err(error))),
                },
            )
            .map_err(|source| StoreError::File {
                operation: "start the thread of",
                path: thread_error,
                source,
            })?;
        let notes = opened.await.map_err(|_| StoreError::Closed)??;
        let outbox = Self {
            commands,
            backlog,
            wear,
            written_per_day_max_bytes,
        };
        Ok((outbox, notes))
    }

    /// Stores a record and returns its place once it is durable.
    ///
    /// # Errors
    /// When the payload is too large or the disk refuses; then nothing is stored and the number is not used.
    pub async fn append(&self, stream: Stream, payload: Bytes) -> Result<Place, StoreError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(StoreError::TooLarge {
                length: payload.len(),
                limit: PAYLOAD_BYTES_MAX,
            });
        }
        self.ask(|reply| Command::Append {
            stream,
            payload,
            reply,
        })
        .await
    }

    /// What is not acknowledged; changes with every append and acknowledgement.
    #[must_use]
    pub fn backlog(&self) -> watch::Receiver<Backlog> {
        self.backlog.clone()
    }

    /// What was written to the disk on the day of the last append.
    #[must_use]
    pub fn wear(&self) -> Wear {
        *self.wear.borrow()
    }

    /// How many times longer than usual a window should be, to keep the flash-wear budget.
    #[must_use]
    pub fn window_stretch(&self) -> u32 {
        self.wear().stretch(self.written_per_day_max_bytes)
    }

    /// How the outbox is doing. Reads a few rows; meant for a person who asks, not for every request.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stats(&self) -> Result<OutboxStats, StoreError> {
        self.ask(|reply| Command::Stats { reply }).await
    }

    /// What a Hello says; begins a session.
    ///
    /// # Errors
    /// When the store cannot be opened again after a failure.
    pub async fn greet(&self) -> Result<Greeting, StoreError> {
        self.ask(|reply| Command::Greet { reply }).await
    }

    /// Persists what a Welcome said; nothing else may be sent before.
    ///
    /// # Errors
    /// When the disk refuses, or the outbox was started afresh since [`Outbox::greet`].
    pub async fn welcomed(
        &self,
        transport: Transport,
        secret: Vec<u8>,
        watermarks: Vec<(Stream, u64)>,
    ) -> Result<(), StoreError> {
        self.ask(|reply| Command::Welcomed {
            transport,
            secret,
            watermarks,
            reply,
        })
        .await
    }

    /// What to send next; that it was offered is durable when this returns. Empty when there is
    /// nothing new, or no session was welcomed.
    ///
    /// # Errors
    /// When the disk refuses, or the outbox was started afresh since [`Outbox::greet`].
    pub async fn offer(&self, room: Room) -> Result<Vec<Outgoing>, StoreError> {
        self.ask(|reply| Command::Offer { room, reply }).await
    }

    /// Takes an acknowledgement.
    ///
    /// # Errors
    /// When the cloud acknowledges what was never offered, or the disk refuses.
    pub async fn acknowledge(&self, stream: Stream, through: u64) -> Result<(), StoreError> {
        self.ask(|reply| Command::Acknowledge {
            stream,
            through,
            reply,
        })
        .await
    }

    /// Closes the store and waits until its files are free. Other handles get [`StoreError::Closed`].
    pub async fn close(self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).await.is_ok() {
            // An error means that the writer is already gone, which is what was asked for.
            drop(closed.await);
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}
