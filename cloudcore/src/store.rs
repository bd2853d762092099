//! What cloudcore knows, on disk: one SQLite file under the data directory.
//!
//! Owns every row; nothing outside this module sees one. Callers get typed methods on [`Store`],
//! grouped by what they are about, one file each. The store takes no decisions: it does not know what
//! a rollout is, only that intent, its audit row and the new resource version are written together.
//!
//! There is one writer connection, so that writes queue here, fairly, instead of failing as busy; and
//! a pool of readers, which WAL lets run beside it. `synchronous=FULL`: what was acknowledged to an
//! agent or a person survives a power cut. A failed write leaves nothing behind (its transaction
//! rolls back when dropped).

mod audit;
mod blobs;
mod changes;
mod error;
mod ingest;
mod meta;
mod migrations;
mod nodes;
mod planning;
mod recall;
mod resources;
mod retention;
pub(crate) mod snapshot;
mod tokens;
mod windows;
mod write;

use std::path::Path;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};
use tokio::sync::watch;

pub(crate) use audit::{Actor, AuditEntry, NewEvent, Outcome};
pub(crate) use changes::{Change, Changes};
pub(crate) use error::StoreError;
pub(crate) use ingest::{KnownNode, KnownSession, NewSession, NewWindow, StreamKey};
pub(crate) use meta::StoreIdentity;
pub(crate) use nodes::{NewNodeIdentity, RegisteredNode};
pub(crate) use planning::{
    DesiredRow, DeviceRow, PlanningRows, SessionRow, StoredContent, StoredDesired, StoredPipeline,
    StoredSlot,
};
pub(crate) use recall::QuicPeer;
pub(crate) use retention::Retention;
pub(crate) use tokens::StoredJoinToken;
pub(crate) use windows::{StoredWindow, WindowQuery};
pub(crate) use write::Write;

/// Name of the database inside the data directory.
pub(crate) const FILE_NAME: &str = "cloudcore.sqlite";

/// Reader connections. Readers are short; more than the cores of a small server only add memory.
const READERS_MAX: u32 = 8;

/// How long a statement waits for another process (a backup, the `sqlite3` shell) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a caller waits for a connection before the request fails as overloaded.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// The store. A cheap handle: clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
    version: watch::Sender<i64>,
}

impl Store {
    /// Opens the store under `data_dir`, making it and bringing its tables up to date as needed.
    ///
    /// # Errors
    /// When the file cannot be opened or was written by a newer cloudcore.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE_NAME);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let opened = |source| StoreError::Open {
            path: path.clone(),
            source,
        };
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool.clone().max_connections(1);
        let writer = writer.connect_with(options.clone()).await.map_err(opened)?;
        migrations::run(&writer, &path).await?;
        let readers = pool.max_connections(READERS_MAX);
        let readers = readers.connect_with(options).await.map_err(opened)?;
        let version = write::stored_version(&readers).await?;
        Ok(Self {
            readers,
            writer,
            version: watch::Sender::new(version),
        })
    }

    /// A connection for reading. One `SELECT` sees one state; for several that must agree, begin a
    /// transaction on it.
    pub(in crate::store) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// The write transaction; at most one exists at a time. Nothing is kept unless it is committed.
    pub(crate) async fn write(&self) -> Result<Write, StoreError> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Write::new(transaction, self.version.clone()))
    }

    /// Tells when resources change: the highest committed resource version.
    pub(crate) fn versions(&self) -> watch::Receiver<i64> {
        self.version.subscribe()
    }

    /// Writes everything back into the one file and closes it.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
