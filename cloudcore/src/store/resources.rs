//! The objects of the API: one table for all kinds, typed at this boundary.
//!
//! Every write takes the next resource version, so that watches see it. Nothing here knows which
//! change is allowed: callers decide inside the write transaction, then write and audit in it.

use std::collections::BTreeMap;

use fleet_api::{API_VERSION, Kind, Metadata, Resource};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::audit::timestamp;
use super::changes::drop_old_tombstones;
use super::{Store, StoreError, Write};

/// One page of a kind, ordered by name.
#[derive(Debug)]
pub(crate) struct Page<K: Kind> {
    /// The objects.
    pub(crate) items: Vec<Resource<K>>,
    /// Whether names follow after the last item.
    pub(crate) more: bool,
    /// The store's version when the page was read.
    pub(crate) version: i64,
}

impl Store {
    /// One object.
    pub(crate) async fn find<K: Kind>(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<Resource<K>>, StoreError> {
        find(&mut *self.read().await?, tenant, name).await
    }

    /// The objects with names after `after` that `wanted` accepts, at most `limit`.
    pub(crate) async fn page<K: Kind>(
        &self,
        tenant: &str,
        after: &str,
        limit: usize,
        wanted: impl Fn(&Resource<K>) -> bool + Send,
    ) -> Result<Page<K>, StoreError> {
        /// Rows per statement: keeps memory flat however many objects are skipped.
        const ROWS: usize = 500;
        let mut connection = self.read().await?;
        let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
        let version = super::write::stored_version(&mut *transaction).await?;
        let mut items = Vec::new();
        let mut after = after.to_owned();
        loop {
            let rows = sqlx::query(
                "SELECT * FROM resource WHERE tenant = ? AND kind = ? AND name > ? ORDER BY name LIMIT ?",
            )
            .bind(tenant)
            .bind(K::KIND)
            .bind(&after)
            .bind(ROWS as i64)
            .fetch_all(&mut *transaction)
            .await?;
            let last = rows.len() < ROWS;
            for row in &rows {
                let resource = resource_of::<K>(row)?;
                after.clone_from(&resource.metadata.name);
                if !wanted(&resource) {
                    continue;
                }
                if items.len() == limit {
                    return Ok(Page {
                        items,
                        more: true,
                        version,
                    });
                }
                items.push(resource);
            }
            if last {
                return Ok(Page {
                    items,
                    more: false,
                    version,
                });
            }
        }
    }
}

impl Write {
    /// One object, as this transaction sees it.
    pub(crate) async fn find<K: Kind>(
        &mut self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<Resource<K>>, StoreError> {
        find(self, tenant, name).await
    }

    /// All objects of a kind, ordered by name.
    pub(crate) async fn all<K: Kind>(
        &mut self,
        tenant: &str,
    ) -> Result<Vec<Resource<K>>, StoreError> {
        all(self, tenant).await
    }

    /// How many objects of a kind there are.
    pub(crate) async fn count<K: Kind>(&mut self, tenant: &str) -> Result<usize, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM resource WHERE tenant = ? AND kind = ?")
                .bind(tenant)
                .bind(K::KIND)
                .fetch_one(&mut **self)
                .await?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Stores a new object: name, labels, annotations, spec and status of `resource` count.
    pub(crate) async fn insert<K: Kind>(
        &mut self,
        tenant: &str,
        mut resource: Resource<K>,
        now: Timestamp,
    ) -> Result<Resource<K>, StoreError> {
        let version = self.next_resource_version().await?;
        sqlx::query(
            "INSERT INTO resource (tenant, kind, name, labels, annotations, spec, status, generation,
             resource_version, created_version, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
        )
        .bind(tenant)
        .bind(K::KIND)
        .bind(&resource.metadata.name)
        .bind(to_json(&resource.metadata.labels))
        .bind(to_json(&resource.metadata.annotations))
        .bind(to_json(&resource.spec))
        .bind(to_json(&resource.status))
        .bind(version)
        .bind(version)
        .bind(now.as_millisecond())
        .execute(&mut **self)
        .await?;
        resource.metadata.generation = Some(1);
        resource.metadata.resource_version = Some(version.to_string());
        resource.metadata.creation_timestamp = Some(timestamp(now.as_millisecond(), "time")?);
        Ok(resource)
    }

    /// Stores labels, annotations, spec and status of an object that exists; the generation moves
    /// when the spec changed.
    pub(crate) async fn replace<K: Kind>(
        &mut self,
        tenant: &str,
        mut resource: Resource<K>,
    ) -> Result<Resource<K>, StoreError> {
        let version = self.next_resource_version().await?;
        let spec = to_json(&resource.spec);
        let generation: i64 = sqlx::query_scalar(
            "UPDATE resource SET labels = ?1, annotations = ?2, generation = generation + (spec <> ?3), spec = ?3,
             status = ?4, resource_version = ?5 WHERE tenant = ?6 AND kind = ?7 AND name = ?8 RETURNING generation",
        )
        .bind(to_json(&resource.metadata.labels))
        .bind(to_json(&resource.metadata.annotations))
        .bind(spec)
        .bind(to_json(&resource.status))
        .bind(version)
        .bind(tenant)
        .bind(K::KIND)
        .bind(&resource.metadata.name)
        .fetch_one(&mut **self)
        .await?;
        resource.metadata.generation = Some(generation.unsigned_abs());
        resource.metadata.resource_version = Some(version.to_string());
        Ok(resource)
    }

    /// Changes the status of an object; writes nothing when it stays the same. Tells whether the
    /// object exists.
    pub(crate) async fn change_status<K: Kind>(
        &mut self,
        tenant: &str,
        name: &str,
        change: impl FnOnce(&mut K::Status) + Send,
    ) -> Result<bool, StoreError> {
        let Some(mut resource) = self.find::<K>(tenant, name).await? else {
            return Ok(false);
        };
        let before = to_json(&resource.status);
        change(&mut resource.status);
        let after = to_json(&resource.status);
        if before != after {
            let version = self.next_resource_version().await?;
            sqlx::query(
                "UPDATE resource SET status = ?, resource_version = ? WHERE tenant = ? AND kind = ? AND name = ?",
            )
            .bind(after)
            .bind(version)
            .bind(tenant)
            .bind(K::KIND)
            .bind(name)
            .execute(&mut **self)
            .await?;
        }
        Ok(true)
    }

    /// Removes an object, leaving a tombstone for watches. `None` when there was none.
    pub(crate) async fn remove<K: Kind>(
        &mut self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<Resource<K>>, StoreError> {
        let Some(mut resource) = self.find::<K>(tenant, name).await? else {
            return Ok(None);
        };
        let version = self.next_resource_version().await?;
        sqlx::query(
            "INSERT INTO tombstone (resource_version, tenant, kind, name, labels, annotations, spec, status,
             generation, created_version, created_ms)
             SELECT ?, tenant, kind, name, labels, annotations, spec, status, generation, created_version, created_ms
             FROM resource WHERE tenant = ? AND kind = ? AND name = ?",
        )
        .bind(version)
        .bind(tenant)
        .bind(K::KIND)
        .bind(name)
        .execute(&mut **self)
        .await?;
        sqlx::query("DELETE FROM resource WHERE tenant = ? AND kind = ? AND name = ?")
            .bind(tenant)
            .bind(K::KIND)
            .bind(name)
            .execute(&mut **self)
            .await?;
        drop_old_tombstones(self).await?;
        resource.metadata.resource_version = Some(version.to_string());
        Ok(Some(resource))
    }
}

/// One object, by any connection.
pub(in crate::store) async fn find<K: Kind>(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
) -> Result<Option<Resource<K>>, StoreError> {
    let row = sqlx::query("SELECT * FROM resource WHERE tenant = ? AND kind = ? AND name = ?")
        .bind(tenant)
        .bind(K::KIND)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(resource_of).transpose()
}

/// All objects of a kind, by any connection, ordered by name.
pub(in crate::store) async fn all<K: Kind>(
    connection: &mut SqliteConnection,
    tenant: &str,
) -> Result<Vec<Resource<K>>, StoreError> {
    let rows = sqlx::query("SELECT * FROM resource WHERE tenant = ? AND kind = ? ORDER BY name")
        .bind(tenant)
        .bind(K::KIND)
        .fetch_all(connection)
        .await?;
    rows.iter().map(resource_of).collect()
}

pub(in crate::store) fn resource_of<K: Kind>(row: &SqliteRow) -> Result<Resource<K>, StoreError> {
    let name: String = row.try_get("name")?;
    let labels: BTreeMap<String, String> = from_json(row, "labels", &name)?;
    let annotations = from_json(row, "annotations", &name)?;
    let spec = from_json(row, "spec", &name)?;
    let status = from_json(row, "status", &name)?;
    let generation: i64 = row.try_get("generation")?;
    let version: i64 = row.try_get("resource_version")?;
    Ok(Resource {
        api_version: API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        metadata: Metadata {
            name,
            labels,
            annotations,
            generation: Some(generation.unsigned_abs()),
            resource_version: Some(version.to_string()),
            creation_timestamp: Some(timestamp(row.try_get("created_ms")?, "creation time")?),
        },
        spec,
        status,
    })
}

fn from_json<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
    name: &str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|_| StoreError::Damaged {
        what: column,
        object: name.to_owned(),
    })
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("API types have text keys only, so they are always JSON")
}
