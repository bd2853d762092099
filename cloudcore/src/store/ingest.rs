//! Rows that sessions write: the session itself, watermarks, windows, gaps. What is accepted is
//! decided in `tasks/ingest`, inside one [`Write`].

use fleet_api::{NodePhase, Transport};
use fleet_core::ingest::secret::Remembered;
use jiff::Timestamp;
use millwright_proto::Digest;
use millwright_proto::ids::{BootId, Generation, InstanceId, Lineage, NodeUid};
use millwright_proto::link;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{StoreError, Write};

/// What is known of a node when it says something.
#[derive(Clone, Debug)]
pub(crate) struct KnownNode {
    /// Whose it is.
    pub(crate) tenant: String,
    /// What it is called.
    pub(crate) name: String,
    /// Whether it may connect.
    pub(crate) phase: NodePhase,
    /// Its last session; `None` before the first.
    pub(crate) session: Option<KnownSession>,
}

/// The last session of a node.
#[derive(Clone, Debug)]
pub(crate) struct KnownSession {
    /// Its number.
    pub(crate) term: u64,
    /// What Welcomes gave since `secret_previous`; `None` when a restore forgot it.
    pub(crate) secret_current: Option<Vec<u8>>,
    /// What the node presented to get it.
    pub(crate) secret_previous: Option<Vec<u8>>,
}

impl KnownSession {
    /// As the rule of session secrets wants it.
    pub(crate) fn remembered(&self) -> Remembered<'_> {
        Remembered {
            given: self.secret_current.as_deref(),
            previous: self.secret_previous.as_deref(),
        }
    }
}

/// A session that begins.
#[derive(Clone, Debug)]
pub(crate) struct NewSession<'a> {
    /// The node.
    pub(crate) uid: NodeUid,
    /// Whose it is.
    pub(crate) tenant: &'a str,
    /// Its number.
    pub(crate) term: u64,
    /// What the Welcome gives.
    pub(crate) secret_current: &'a [u8],
    /// What the node presented.
    pub(crate) secret_previous: &'a [u8],
    /// The agent's process.
    pub(crate) instance: InstanceId,
    /// The device's boot.
    pub(crate) boot: BootId,
    /// The agent's outbox store.
    pub(crate) lineage: Lineage,
    /// What carries it.
    pub(crate) transport: Transport,
    /// Version of the agent.
    pub(crate) agent_version: &'a str,
    /// Operating system.
    pub(crate) os: &'a str,
    /// Processor.
    pub(crate) arch: &'a str,
    /// Empty when there is none.
    pub(crate) onnxruntime: &'a str,
    /// What the agent can do.
    pub(crate) capabilities: &'a [String],
    /// The desired state the node works on.
    pub(crate) applied: Option<(Generation, Digest)>,
}

/// One stream of one outbox store of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamKey<'a> {
    /// The node.
    pub(crate) uid: NodeUid,
    /// Whose it is.
    pub(crate) tenant: &'a str,
    /// The outbox store.
    pub(crate) lineage: Lineage,
    /// The stream.
    pub(crate) stream: link::Stream,
}

/// A window that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewWindow<'a> {
    /// First sequence number covered.
    pub(crate) first: u64,
    /// Last sequence number covered.
    pub(crate) last: u64,
    /// Start in Unix milliseconds by the node's clock, and length; `None` when it does not decode.
    pub(crate) span: Option<(u64, u64)>,
    /// As received.
    pub(crate) payload: &'a [u8],
}

impl Write {
    /// Who `uid` is; `None` when it was never enrolled here.
    pub(crate) async fn known_node(
        &mut self,
        uid: NodeUid,
    ) -> Result<Option<KnownNode>, StoreError> {
        let row = sqlx::query(
            "SELECT n.tenant, n.name, n.phase, s.term, s.secret_current, s.secret_previous
             FROM node_identity n LEFT JOIN session s ON s.uid = n.uid WHERE n.uid = ?",
        )
        .bind(&uid.as_bytes()[..])
        .fetch_optional(&mut **self)
        .await?;
        row.as_ref().map(known_node_of).transpose()
    }

    /// Whether anything of this outbox store was ever counted.
    pub(crate) async fn knows_lineage(
        &mut self,
        uid: NodeUid,
        lineage: Lineage,
    ) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM watermark WHERE uid = ?1 AND lineage = ?2)
             OR EXISTS (SELECT 1 FROM session WHERE uid = ?1 AND lineage = ?2)",
        )
        .bind(&uid.as_bytes()[..])
        .bind(&lineage.as_bytes()[..])
        .fetch_one(&mut **self)
        .await?)
    }

    /// Begins a session in place of the last one. What the node reported of its slots is kept while
    /// it still works on the same generation.
    pub(crate) async fn begin_session(
        &mut self,
        session: &NewSession<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (generation, digest) = match session.applied {
            Some((generation, digest)) => (generation.get(), Some(digest.as_bytes().to_vec())),
            None => (0, None),
        };
        sqlx::query(
            "INSERT INTO session (uid, tenant, term, secret_current, secret_previous, instance, boot, lineage,
             transport, connected_ms, last_seen_ms, agent_version, os, arch, onnxruntime, capabilities,
             applied_generation, applied_digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (uid) DO UPDATE SET term = excluded.term, secret_current = excluded.secret_current,
             secret_previous = excluded.secret_previous, instance = excluded.instance, boot = excluded.boot,
             lineage = excluded.lineage, transport = excluded.transport, connected_ms = excluded.connected_ms,
             last_seen_ms = excluded.last_seen_ms, agent_version = excluded.agent_version, os = excluded.os,
             arch = excluded.arch, onnxruntime = excluded.onnxruntime, capabilities = excluded.capabilities,
             applied = CASE WHEN applied_generation = excluded.applied_generation
                            AND applied_digest IS excluded.applied_digest THEN applied END,
             applied_generation = excluded.applied_generation, applied_digest = excluded.applied_digest",
        )
        .bind(&session.uid.as_bytes()[..])
        .bind(session.tenant)
        .bind(stored(session.term))
        .bind(session.secret_current)
        .bind(session.secret_previous)
        .bind(&session.instance.as_bytes()[..])
        .bind(&session.boot.as_bytes()[..])
        .bind(&session.lineage.as_bytes()[..])
        .bind(match session.transport {
            Transport::Quic => "quic",
            Transport::Websocket => "websocket",
        })
        .bind(now.as_millisecond())
        .bind(session.agent_version)
        .bind(session.os)
        .bind(session.arch)
        .bind(session.onnxruntime)
        .bind(serde_json::to_string(session.capabilities).expect("a list of texts is always JSON"))
        .bind(stored(generation))
        .bind(digest)
        .execute(&mut **self)
        .await?;
        sqlx::query("DELETE FROM unheard WHERE uid = ?")
            .bind(&session.uid.as_bytes()[..])
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Marks a session as ended, unless a newer one began. Tells whether it was live.
    pub(crate) async fn end_session(
        &mut self,
        uid: NodeUid,
        term: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let ended = sqlx::query(
            "UPDATE session SET transport = NULL, last_seen_ms = ? WHERE uid = ? AND term = ? AND transport IS NOT NULL",
        )
        .bind(now.as_millisecond())
        .bind(&uid.as_bytes()[..])
        .bind(stored(term))
        .execute(&mut **self)
        .await?;
        Ok(ended.rows_affected() > 0)
    }

    /// Notes that the node was heard.
    pub(crate) async fn touch_session(
        &mut self,
        uid: NodeUid,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE session SET last_seen_ms = ? WHERE uid = ?")
            .bind(now.as_millisecond())
            .bind(&uid.as_bytes()[..])
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Keeps what the node made of its desired state. `message` is an encoded `Applied`.
    pub(crate) async fn set_applied(
        &mut self,
        uid: NodeUid,
        applied: Option<(Generation, Digest)>,
        message: &[u8],
    ) -> Result<(), StoreError> {
        let digest = applied.map(|(_, digest)| digest.as_bytes().to_vec());
        let generation = applied.map_or(Generation::NONE, |(generation, _)| generation);
        sqlx::query(
            "UPDATE session SET applied_generation = ?, applied_digest = ?, applied = ? WHERE uid = ?",
        )
        .bind(stored(generation.get()))
        .bind(digest)
        .bind(message)
        .bind(&uid.as_bytes()[..])
        .execute(&mut **self)
        .await?;
        Ok(())
    }

    /// Through which sequence number a stream is counted; 0 when nothing is.
    pub(crate) async fn watermark(&mut self, key: StreamKey<'_>) -> Result<u64, StoreError> {
        let through: Option<i64> = sqlx::query_scalar(
            "SELECT through FROM watermark WHERE uid = ? AND lineage = ? AND stream = ?",
        )
        .bind(&key.uid.as_bytes()[..])
        .bind(&key.lineage.as_bytes()[..])
        .bind(i32::from(key.stream))
        .fetch_optional(&mut **self)
        .await?;
        Ok(through.unwrap_or(0).unsigned_abs())
    }

    /// Moves a watermark.
    pub(crate) async fn move_watermark(
        &mut self,
        key: StreamKey<'_>,
        through: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO watermark (uid, lineage, stream, tenant, through, moved_ms) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (uid, lineage, stream) DO UPDATE SET through = excluded.through, moved_ms = excluded.moved_ms",
        )
        .bind(&key.uid.as_bytes()[..])
        .bind(&key.lineage.as_bytes()[..])
        .bind(i32::from(key.stream))
        .bind(key.tenant)
        .bind(stored(through))
        .bind(now.as_millisecond())
        .execute(&mut **self)
        .await?;
        Ok(())
    }

    /// Stores a window as received. Its start is its arrival when it does not decode.
    pub(crate) async fn insert_window(
        &mut self,
        key: StreamKey<'_>,
        window: NewWindow<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let arrival = (now.as_millisecond().unsigned_abs(), 0);
        let (start_ms, length_ms) = window.span.unwrap_or(arrival);
        sqlx::query(
            "INSERT INTO summary_window (uid, lineage, first, last, tenant, start_ms, length_ms, received_ms,
             undecodable, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.uid.as_bytes()[..])
        .bind(&key.lineage.as_bytes()[..])
        .bind(stored(window.first))
        .bind(stored(window.last))
        .bind(key.tenant)
        .bind(stored(start_ms))
        .bind(stored(length_ms))
        .bind(now.as_millisecond())
        .bind(window.span.is_none())
        .bind(window.payload)
        .execute(&mut **self)
        .await?;
        Ok(())
    }

    /// Stores that `first..=last` will never arrive.
    pub(crate) async fn insert_gap(
        &mut self,
        key: StreamKey<'_>,
        (first, last): (u64, u64),
        reason: link::GapReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO gap (uid, lineage, stream, first, last, tenant, reason, received_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.uid.as_bytes()[..])
        .bind(&key.lineage.as_bytes()[..])
        .bind(i32::from(key.stream))
        .bind(stored(first))
        .bind(stored(last))
        .bind(key.tenant)
        .bind(i32::from(reason))
        .bind(now.as_millisecond())
        .execute(&mut **self)
        .await?;
        Ok(())
    }
}

/// SQLite's integers are signed; what is out of reach was refused before it came here, or is a time
/// that nothing depends on.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn known_node_of(row: &SqliteRow) -> Result<KnownNode, StoreError> {
    let name: String = row.try_get("name")?;
    let session = match row.try_get::<Option<i64>, _>("term")? {
        None => None,
        Some(term) => Some(KnownSession {
            term: term.unsigned_abs(),
            secret_current: row.try_get("secret_current")?,
            secret_previous: row.try_get("secret_previous")?,
        }),
    };
    Ok(KnownNode {
        tenant: row.try_get("tenant")?,
        phase: phase_of(row.try_get("phase")?, &name)?,
        name,
        session,
    })
}

/// A stored phase.
pub(super) fn phase_of(text: &str, name: &str) -> Result<NodePhase, StoreError> {
    match text {
        "Enrolled" => Ok(NodePhase::Enrolled),
        "Revoked" => Ok(NodePhase::Revoked),
        "Decommissioned" => Ok(NodePhase::Decommissioned),
        _ => Err(StoreError::Damaged {
            what: "phase",
            object: name.to_owned(),
        }),
    }
}
