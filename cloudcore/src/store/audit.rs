//! The audit trail and the event log: rows that are only ever added.

use fleet_api::{AuditRecord, Event, Severity};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Store, StoreError, Write};

/// Who asks: a tenant and a name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    /// The tenant whose objects it may see.
    pub(crate) tenant: String,
    /// A token's name, `enrollment` or `bootstrap`.
    pub(crate) name: String,
}

/// Whether what was asked for was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done, in the same transaction.
    Allowed,
    /// It was not.
    Refused,
}

/// One thing somebody did, or tried.
#[derive(Clone, Debug)]
pub(crate) struct AuditEntry<'a> {
    /// Who.
    pub(crate) actor: &'a Actor,
    /// `create`, `update`, `delete`, `enroll`, `revoke`, `decommission`, `login`.
    pub(crate) action: &'a str,
    /// `<Kind>/<name>`.
    pub(crate) object: &'a str,
    /// Done or refused.
    pub(crate) outcome: Outcome,
    /// What changed, or why it was refused.
    pub(crate) detail: &'a str,
}

/// Something that happened, to be told in the event log.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent<'a> {
    /// Whose.
    pub(crate) tenant: &'a str,
    /// Unix milliseconds by the clock of who reported it.
    pub(crate) time: Timestamp,
    /// How much attention it wants.
    pub(crate) severity: Severity,
    /// Machine-readable, `CamelCase`.
    pub(crate) reason: &'a str,
    /// For people.
    pub(crate) message: &'a str,
    /// `<Kind>/<name>`.
    pub(crate) regarding: &'a str,
}

/// Adds an audit row to the transaction that does what it tells of.
pub(in crate::store) async fn insert(
    connection: &mut SqliteConnection,
    entry: &AuditEntry<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let outcome = match entry.outcome {
        Outcome::Allowed => "allowed",
        Outcome::Refused => "refused",
    };
    sqlx::query(
        "INSERT INTO audit (tenant, time_ms, actor, action, object, outcome, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&entry.actor.tenant)
    .bind(now.as_millisecond())
    .bind(&entry.actor.name)
    .bind(entry.action)
    .bind(entry.object)
    .bind(outcome)
    .bind(entry.detail)
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds an event to a transaction.
pub(in crate::store) async fn insert_event(
    connection: &mut SqliteConnection,
    event: &NewEvent<'_>,
) -> Result<(), StoreError> {
    let severity = match event.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    sqlx::query(
        "INSERT INTO event (tenant, time_ms, severity, reason, message, regarding) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(event.tenant)
    .bind(event.time.as_millisecond())
    .bind(severity)
    .bind(event.reason)
    .bind(event.message)
    .bind(event.regarding)
    .execute(connection)
    .await?;
    Ok(())
}

impl Write {
    /// Adds an audit row to this transaction.
    pub(crate) async fn audit(
        &mut self,
        entry: &AuditEntry<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        insert(self, entry, now).await
    }

    /// Adds an event to this transaction.
    pub(crate) async fn event(&mut self, event: &NewEvent<'_>) -> Result<(), StoreError> {
        insert_event(self, event).await
    }
}

impl Store {
    /// Records something that was refused. What is allowed is recorded by the method that does it.
    pub(crate) async fn record_refusal(
        &self,
        entry: &AuditEntry<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        insert(&mut write, entry, now).await?;
        write.commit().await
    }

    /// The newest audit rows before `before` (all when `None`), newest first.
    pub(crate) async fn audit(
        &self,
        tenant: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, time_ms, actor, action, object, outcome, detail FROM audit
             WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(tenant)
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(AuditRecord {
                    id: row.get::<i64, _>("id").unsigned_abs(),
                    time: timestamp(row.get("time_ms"), "audit time")?,
                    actor: row.get("actor"),
                    action: row.get("action"),
                    object: row.get("object"),
                    outcome: row.get("outcome"),
                    detail: row.get("detail"),
                })
            })
            .collect()
    }

    /// Events after `after`, oldest first; of one `<Kind>/<name>` when `regarding` is given.
    pub(crate) async fn events(
        &self,
        tenant: &str,
        after: i64,
        regarding: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, time_ms, severity, reason, message, regarding FROM event
             WHERE tenant = ?1 AND id > ?2 AND (?3 IS NULL OR regarding = ?3) ORDER BY id LIMIT ?4",
        )
        .bind(tenant)
        .bind(after)
        .bind(regarding)
        .bind(limit)
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.iter().map(event_of).collect()
    }

    /// The newest events, oldest first; of one `<Kind>/<name>` when `regarding` is given.
    pub(crate) async fn newest_events(
        &self,
        tenant: &str,
        regarding: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, time_ms, severity, reason, message, regarding FROM event
             WHERE tenant = ?1 AND (?2 IS NULL OR regarding = ?2) ORDER BY id DESC LIMIT ?3",
        )
        .bind(tenant)
        .bind(regarding)
        .bind(limit)
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.iter().rev().map(event_of).collect()
    }
}

fn event_of(row: &SqliteRow) -> Result<Event, StoreError> {
    Ok(Event {
        id: row.try_get::<i64, _>("id")?.unsigned_abs(),
        time: timestamp(row.try_get("time_ms")?, "event time")?,
        severity: match row.try_get("severity")? {
            "Warning" => Severity::Warning,
            _ => Severity::Normal,
        },
        reason: row.try_get("reason")?,
        message: row.try_get("message")?,
        regarding: row.try_get("regarding")?,
    })
}

/// A stored time.
pub(in crate::store) fn timestamp(ms: i64, what: &'static str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_| StoreError::Damaged {
        what,
        object: ms.to_string(),
    })
}
