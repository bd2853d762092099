//! Facts about this store: the fleet's id and this store's incarnation.

use millwright_proto::ids::Incarnation;
use sqlx::SqliteConnection;

use super::{Store, StoreError};

const FLEET: &str = "fleet";
const INCARNATION: &str = "incarnation";

/// What makes this store this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreIdentity {
    /// The SPIFFE trust domain; never changes.
    pub(crate) fleet: String,
    /// Changes when the store is restored from a backup.
    pub(crate) incarnation: Incarnation,
}

impl Store {
    /// Who this store is; a fresh one becomes `fresh`.
    pub(crate) async fn identity(&self, fresh: StoreIdentity) -> Result<StoreIdentity, StoreError> {
        let mut write = self.write().await?;
        let fleet = stored_or(&mut write, FLEET, fresh.fleet.as_bytes()).await?;
        let incarnation = stored_or(&mut write, INCARNATION, fresh.incarnation.as_bytes()).await?;
        write.commit().await?;
        let damaged = |what| StoreError::Damaged {
            what,
            object: "this store".to_owned(),
        };
        Ok(StoreIdentity {
            fleet: String::from_utf8(fleet).map_err(|_| damaged(FLEET))?,
            incarnation: Incarnation::try_from(&incarnation[..])
                .map_err(|_| damaged(INCARNATION))?,
        })
    }
}

async fn stored_or(
    connection: &mut SqliteConnection,
    key: &str,
    fresh: &[u8],
) -> Result<Vec<u8>, StoreError> {
    sqlx::query("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)")
        .bind(key)
        .bind(fresh)
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
        .bind(key)
        .fetch_one(connection)
        .await?)
}
