//! A copy of the store at one moment, and what makes a copied store safe to run.

use std::path::Path;

use millwright_proto::Digest;
use millwright_proto::ids::Incarnation;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::{FILE_NAME, Store, StoreError};

/// Copies the store under `data_dir` to the file `to`, while a server may be writing to it. Returns
/// the digests of all blobs that the copy knows.
///
/// # Errors
/// When there is no store, or the copy cannot be written.
pub(crate) async fn copy(data_dir: &Path, to: &Path) -> Result<Vec<Digest>, StoreError> {
    let path = data_dir.join(FILE_NAME);
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .busy_timeout(super::BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(|source| StoreError::Open { path, source })?;
    sqlx::query("VACUUM INTO ?")
        .bind(to.to_string_lossy())
        .execute(&pool)
        .await?;
    pool.close().await;
    let options = SqliteConnectOptions::new().filename(to).read_only(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(|source| StoreError::Open {
            path: to.to_owned(),
            source,
        })?;
    let digests: Vec<Vec<u8>> = sqlx::query_scalar("SELECT DISTINCT digest FROM blob")
        .fetch_all(&pool)
        .await?;
    pool.close().await;
    let digests = digests.into_iter().map(|digest| {
        digest
            .try_into()
            .map(Digest::from_sha256)
            .map_err(|_| StoreError::Damaged {
                what: "digest",
                object: "blob".to_owned(),
            })
    });
    digests.collect()
}

impl Store {
    /// Makes a restored store another life of the old one: a new incarnation, no session secrets,
    /// because nodes hold newer ones, which would read as clones, and every node unheard.
    pub(crate) async fn begin_new_life(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("INSERT OR REPLACE INTO meta (key, value) VALUES ('incarnation', ?)")
            .bind(&incarnation.as_bytes()[..])
            .execute(&mut *write)
            .await?;
        sqlx::query(
            "UPDATE session SET secret_current = NULL, secret_previous = NULL, transport = NULL",
        )
        .execute(&mut *write)
        .await?;
        sqlx::query("INSERT OR IGNORE INTO unheard (uid) SELECT uid FROM node_identity")
            .execute(&mut *write)
            .await?;
        write.commit().await
    }
}
