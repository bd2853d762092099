//! The agent's memory on disk: the outbox of records and a small working state, both in sled.
//!
//! Owns every byte under `outbox/` and `state/`. What to keep and what to evict is decided in
//! [`edge_core::outbox`]; this module makes those decisions durable. It knows nothing of sessions,
//! windows or models: payloads are bytes.
//!
//! ```text
//!   append --> writer thread: decide -> batch -> flush + fdatasync -> mark -> answer   (group commit)
//!   link   --> hello / welcome / offer / acknowledge, on the same thread, in order
//! ```
//!
//! No embedded store is safe alone, so every row carries our own CRC, sequence number and lineage
//! ([`schema`]), and the highest number ever confirmed stands in a file of its own ([`mark`]).
//! Invariant: what was confirmed is either read back as it was or declared as a gap; a store that
//! cannot be read is set aside and reported ([`recovery`]). `store/outbox/tests.rs` asserts it by damaging
//! closed stores. On failure (disk full, damaged file) an append returns a named error and inference
//! goes on; the next command opens the store again.

mod database;
mod mark;
mod outbox;
mod recovery;
mod schema;
mod state;

use std::path::PathBuf;

use thiserror::Error;

pub use outbox::{
    Greeting, Outbox, OutboxLimits, OutboxStats, Outgoing, OutgoingBody, PAYLOAD_BYTES_MAX, Place,
    QUOTA_BYTES_MIN,
};
pub use recovery::RecoveryNote;
pub use state::{STATE_KEY_BYTES_MAX, StateStore};

/// Why the store could not do something.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no room left on the device.
    #[error(
        "the disk of {} has {free_bytes} bytes left and {needed_bytes} are kept free: delete files there", directory.display()
    )]
    DiskFull {
        /// The store's directory.
        directory: PathBuf,
        /// What is left.
        free_bytes: u64,
        /// What must stay free.
        needed_bytes: u64,
    },
    /// A payload that no frame could carry.
    #[error("a payload of {length} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A file or directory cannot be used.
    #[error("cannot {operation} {}: is it writable by the agent?", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A write that carried several records failed; the first of them got the error itself.
    #[error("{0}")]
    Group(String),
    /// Another process uses it.
    #[error("the store {} is used by another process: is an agent already running?", directory.display())]
    InUse {
        /// The store's directory.
        directory: PathBuf,
    },
    /// sled reported an error.
    #[error("cannot {operation} the store {}", directory.display())]
    Database {
        /// What was tried.
        operation: &'static str,
        /// The store's directory.
        directory: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
    /// sled panicked or never answered.
    #[error("the store {} did not {operation}: it {how}", directory.display())]
    Stuck {
        /// What was tried.
        operation: &'static str,
        /// The store's directory.
        directory: PathBuf,
        /// Panicked, or took too long.
        how: &'static str,
    },
    /// The rows contradict each other or are damaged beyond declaring a gap.
    #[error("the store {} holds a damaged {what}", directory.display())]
    Damaged {
        /// Which row.
        what: &'static str,
        /// The store's directory.
        directory: PathBuf,
    },
    /// The store was set aside meanwhile, so what the session knows is void: greet again.
    #[error("the outbox was started afresh during the session")]
    Restarted,
    /// The cloud acknowledged what was never offered.
    #[error(transparent)]
    Settle(#[from] edge_core::outbox::SettleError),
    /// The writer thread ended.
    #[error("the outbox is closed")]
    Closed,
}
