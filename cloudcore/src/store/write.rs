//! One write transaction.

use std::ops::{Deref, DerefMut};

use sqlx::{Executor, Sqlite, SqliteConnection, Transaction};
use tokio::sync::watch;

use super::StoreError;

/// A write transaction: derefs to the connection. Dropped without [`Write::commit`] it rolls back.
#[derive(Debug)]
pub(crate) struct Write {
    transaction: Transaction<'static, Sqlite>,
    announce: watch::Sender<i64>,
    version: Option<i64>,
}

impl Write {
    pub(super) fn new(
        transaction: Transaction<'static, Sqlite>,
        announce: watch::Sender<i64>,
    ) -> Self {
        Self {
            transaction,
            announce,
            version: None,
        }
    }

    /// Takes the next resource version; every row of `resource` or `tombstone` needs its own.
    pub(super) async fn next_resource_version(&mut self) -> Result<i64, StoreError> {
        let version = sqlx::query_scalar(
            "UPDATE resource_counter SET version = version + 1 RETURNING version",
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        self.version = Some(version);
        Ok(version)
    }

    /// Keeps what was written, then wakes the watches.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        if let Some(version) = self.version {
            self.announce.send_if_modified(|seen| {
                let newer = version > *seen;
                *seen = version.max(*seen);
                newer
            });
        }
        Ok(())
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

/// The highest resource version ever committed.
pub(super) async fn stored_version<'c>(
    executor: impl Executor<'c, Database = Sqlite>,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT version FROM resource_counter")
        .fetch_one(executor)
        .await?)
}
