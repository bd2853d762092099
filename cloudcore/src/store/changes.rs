//! What happened to objects: the feed that watches read.
//!
//! An object's row carries the version of its last write, and a deleted object leaves a tombstone, so
//! "everything after version v" is one query and needs no log of its own.

use fleet_api::{Kind, Resource};
use sqlx::{Row, SqliteConnection};

use super::resources::resource_of;
use super::{Store, StoreError};

/// Deleted objects remembered for watches that resume. A dashboard that was away while more than
/// this many objects were deleted lists again.
const TOMBSTONES_MAX: i64 = 10_000;

/// What happened to one object after some version.
#[derive(Debug)]
pub(crate) enum Change<K: Kind> {
    /// It was made after that version.
    Added(Resource<K>),
    /// It is older, and changed.
    Modified(Resource<K>),
    /// It was removed; this is how it was.
    Deleted(Resource<K>),
}

/// What happened to a kind after some version.
#[derive(Debug)]
pub(crate) enum Changes<K: Kind> {
    /// Ordered by version, each with the version to resume from.
    Since(Vec<(i64, Change<K>)>),
    /// Older than what is remembered: list again.
    Compacted,
}

impl Store {
    /// What happened to kind `K` after `since`, at most `limit` changes.
    pub(crate) async fn changes<K: Kind>(
        &self,
        tenant: &str,
        since: i64,
        limit: u32,
    ) -> Result<Changes<K>, StoreError> {
        let mut connection = self.read().await?;
        let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
        let compacted: i64 = sqlx::query_scalar("SELECT compacted FROM resource_counter")
            .fetch_one(&mut *transaction)
            .await?;
        if since < compacted {
            return Ok(Changes::Compacted);
        }
        let columns = "SELECT name, labels, annotations, spec, status, generation, resource_version, created_version, created_ms";
        let mut query = sqlx::QueryBuilder::new(columns);
        query.push(", 0 AS deleted FROM resource WHERE tenant = ");
        query
            .push_bind(tenant)
            .push(" AND kind = ")
            .push_bind(K::KIND);
        query.push(" AND resource_version > ").push_bind(since);
        query.push(" UNION ALL ").push(columns);
        query.push(", 1 AS deleted FROM tombstone WHERE tenant = ");
        query
            .push_bind(tenant)
            .push(" AND kind = ")
            .push_bind(K::KIND);
        query.push(" AND resource_version > ").push_bind(since);
        query
            .push(" ORDER BY resource_version LIMIT ")
            .push_bind(limit);
        let rows = query.build().fetch_all(&mut *transaction).await?;
        let changes = rows.iter().map(|row| {
            let resource = resource_of::<K>(row)?;
            let version: i64 = row.try_get("resource_version")?;
            let change = if row.try_get::<i64, _>("deleted")? == 1 {
                Change::Deleted(resource)
            } else if row.try_get::<i64, _>("created_version")? > since {
                Change::Added(resource)
            } else {
                Change::Modified(resource)
            };
            Ok((version, change))
        });
        Ok(Changes::Since(changes.collect::<Result<_, StoreError>>()?))
    }
}

/// Forgets the oldest deleted objects beyond the bound.
pub(in crate::store) async fn drop_old_tombstones(
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    let newest_dropped: Option<i64> = sqlx::query_scalar(
        "SELECT resource_version FROM tombstone ORDER BY resource_version DESC LIMIT 1 OFFSET ?",
    )
    .bind(TOMBSTONES_MAX)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(version) = newest_dropped else {
        return Ok(());
    };
    sqlx::query("DELETE FROM tombstone WHERE resource_version <= ?")
        .bind(version)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE resource_counter SET compacted = ?")
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}
