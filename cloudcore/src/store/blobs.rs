//! Which blobs are whole on disk, and whose they are.

use jiff::Timestamp;
use millwright_proto::Digest;

use super::{Store, StoreError, Write};

impl Store {
    /// Size of a blob of this tenant; `None` when it has none.
    pub(crate) async fn blob_size_bytes(
        &self,
        tenant: &str,
        digest: Digest,
    ) -> Result<Option<u64>, StoreError> {
        let size: Option<i64> =
            sqlx::query_scalar("SELECT size_bytes FROM blob WHERE tenant = ? AND digest = ?")
                .bind(tenant)
                .bind(&digest.as_bytes()[..])
                .fetch_optional(&mut *self.read().await?)
                .await?;
        Ok(size.map(i64::unsigned_abs))
    }
}

impl Write {
    /// Notes that a blob is whole on disk. Tells whether it is new to this tenant.
    pub(crate) async fn insert_blob(
        &mut self,
        tenant: &str,
        digest: Digest,
        size_bytes: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT OR IGNORE INTO blob (tenant, digest, size_bytes, uploaded_ms) VALUES (?, ?, ?, ?)",
        )
        .bind(tenant)
        .bind(&digest.as_bytes()[..])
        .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
        .bind(now.as_millisecond())
        .execute(&mut **self)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
