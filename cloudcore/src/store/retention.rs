//! Dropping what is old: every delete is bounded, so that it never holds the writer for long.

use jiff::Timestamp;

use super::{Store, StoreError};

/// What may be dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Windows that arrived before this, and gaps with them.
    pub(crate) windows_before: Timestamp,
    /// Newest events that are kept.
    pub(crate) events_max: u32,
    /// Watermarks of outbox stores that are not the node's last one and did not move since.
    pub(crate) lineages_before: Timestamp,
    /// Most rows of each that one call drops.
    pub(crate) rows_max: u32,
}

impl Store {
    /// Drops what is old, and returns how many rows that were. As many as
    /// [`Retention::rows_max`] or more mean that there may be more.
    pub(crate) async fn drop_old(&self, retention: &Retention) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        let windows = sqlx::query(
            "DELETE FROM summary_window WHERE rowid IN
             (SELECT rowid FROM summary_window WHERE received_ms < ? LIMIT ?)",
        )
        .bind(retention.windows_before.as_millisecond())
        .bind(retention.rows_max)
        .execute(&mut *write)
        .await?;
        let gaps = sqlx::query(
            "DELETE FROM gap WHERE (uid, lineage, stream, first) IN
             (SELECT uid, lineage, stream, first FROM gap WHERE received_ms < ? LIMIT ?)",
        )
        .bind(retention.windows_before.as_millisecond())
        .bind(retention.rows_max)
        .execute(&mut *write)
        .await?;
        let events = sqlx::query(
            "DELETE FROM event WHERE id IN
             (SELECT id FROM event WHERE id <= (SELECT max(id) FROM event) - ? LIMIT ?)",
        )
        .bind(retention.events_max)
        .bind(retention.rows_max)
        .execute(&mut *write)
        .await?;
        let watermarks = sqlx::query(
            "DELETE FROM watermark WHERE (uid, lineage, stream) IN
             (SELECT w.uid, w.lineage, w.stream FROM watermark w LEFT JOIN session s ON s.uid = w.uid
              WHERE w.moved_ms < ? AND w.lineage IS NOT s.lineage LIMIT ?)",
        )
        .bind(retention.lineages_before.as_millisecond())
        .bind(retention.rows_max)
        .execute(&mut *write)
        .await?;
        let dropped = [&windows, &gaps, &events, &watermarks];
        let dropped = dropped.iter().map(|rows| rows.rows_affected()).sum();
        write.commit().await?;
        Ok(dropped)
    }

    /// Join tokens that ended before `before`, by tenant and name; at most `limit`.
    pub(crate) async fn ended_join_tokens(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, String)>, StoreError> {
        Ok(
            sqlx::query_as("SELECT tenant, name FROM join_token WHERE expires_ms < ? LIMIT ?")
                .bind(before.as_millisecond())
                .bind(limit)
                .fetch_all(&mut *self.read().await?)
                .await?,
        )
    }
}
