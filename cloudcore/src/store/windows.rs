//! Reading what nodes measured. Writing is ingest's.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use millwright_proto::ids::{Lineage, NodeUid};
use millwright_proto::link;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError};

/// One stored window, not decoded.
#[derive(Clone, Debug)]
pub(crate) struct StoredWindow {
    /// Name of the node.
    pub(crate) node: String,
    /// The outbox store it came from.
    pub(crate) lineage: Lineage,
    /// First sequence number covered.
    pub(crate) first: u64,
    /// Last sequence number covered.
    pub(crate) last: u64,
    /// As received.
    pub(crate) payload: Vec<u8>,
}

/// Which windows.
#[derive(Clone, Debug)]
pub(crate) struct WindowQuery<'a> {
    /// Whose.
    pub(crate) tenant: &'a str,
    /// Of this node only.
    pub(crate) node: Option<&'a str>,
    /// That begin then or later.
    pub(crate) since: Option<Timestamp>,
}

impl Store {
    /// Hands every window of `query` to `visit`, ordered by node. `visit` answers whether to go on.
    pub(crate) async fn visit_windows(
        &self,
        query: &WindowQuery<'_>,
        mut visit: impl FnMut(StoredWindow) -> std::ops::ControlFlow<()> + Send,
    ) -> Result<(), StoreError> {
        let mut connection = self.read().await?;
        let mut rows = sqlx::query(
            "SELECT n.name, w.lineage, w.first, w.last, w.payload FROM summary_window w
             JOIN node_identity n ON n.uid = w.uid
             WHERE n.tenant = ?1 AND n.phase <> 'Decommissioned' AND (?2 IS NULL OR n.name = ?2)
             AND w.start_ms >= ?3 ORDER BY n.name, w.lineage, w.first",
        )
        .bind(query.tenant)
        .bind(query.node)
        .bind(query.since.map_or(0, Timestamp::as_millisecond))
        .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            if visit(window_of(&row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The windows of one node after a lineage and sequence number, in that order.
    pub(crate) async fn windows_after(
        &self,
        uid: NodeUid,
        after: Option<(Lineage, u64)>,
        limit: u32,
    ) -> Result<Vec<StoredWindow>, StoreError> {
        let (lineage, first) = match &after {
            None => (&[][..], -1),
            Some((lineage, first)) => {
                let first = i64::try_from(*first).unwrap_or(i64::MAX);
                (&lineage.as_bytes()[..], first)
            }
        };
        let rows = sqlx::query(
            "SELECT n.name, w.lineage, w.first, w.last, w.payload FROM summary_window w
             JOIN node_identity n ON n.uid = w.uid
             WHERE w.uid = ? AND (w.lineage, w.first) > (?, ?) ORDER BY w.lineage, w.first LIMIT ?",
        )
        .bind(&uid.as_bytes()[..])
        .bind(lineage)
        .bind(first)
        .bind(limit)
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.iter().map(window_of).collect()
    }

    /// Nodes and how many sequence numbers of their summaries were declared lost.
    pub(crate) async fn lost_summaries(
        &self,
        tenant: &str,
    ) -> Result<std::collections::BTreeMap<String, u64>, StoreError> {
        let rows = sqlx::query(
            "SELECT n.name, sum(g.last - g.first + 1) AS lost FROM gap g
             JOIN node_identity n ON n.uid = g.uid
             WHERE n.tenant = ? AND n.phase <> 'Decommissioned' AND g.stream = ? GROUP BY n.name",
        )
        .bind(tenant)
        .bind(i32::from(link::Stream::Summaries))
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.into_iter()
            .map(|row| {
                let lost: i64 = row.try_get("lost")?;
                Ok((row.try_get("name")?, lost.unsigned_abs()))
            })
            .collect()
    }

    /// How many windows are stored.
    pub(crate) async fn window_count(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM summary_window")
            .fetch_one(&mut *self.read().await?)
            .await?)
    }
}

fn window_of(row: &SqliteRow) -> Result<StoredWindow, StoreError> {
    let node: String = row.try_get("name")?;
    let lineage: &[u8] = row.try_get("lineage")?;
    let lineage = Lineage::try_from(lineage).map_err(|_| StoreError::Damaged {
        what: "lineage",
        object: node.clone(),
    })?;
    Ok(StoredWindow {
        lineage,
        first: row.try_get::<i64, _>("first")?.unsigned_abs(),
        last: row.try_get::<i64, _>("last")?.unsigned_abs(),
        payload: row.try_get("payload")?,
        node,
    })
}
