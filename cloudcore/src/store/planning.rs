//! What the planner reads at one moment, and the desired states it writes.
//!
//! Objects come as the API's types; what only the store knows of a device comes as [`DeviceRow`].

use fleet_api::{
    ModelDeployment, ModelVersion, Node, NodePhase, Pipeline, Resource, Rollout, Site, Transport,
};
use fleet_core::fleet::Memory;
use fleet_core::fleet::pipeline::PipelineSupport;
use jiff::Timestamp;
use millwright_proto::Digest;
use millwright_proto::frame::CAPABILITY_PIPELINES;
use millwright_proto::ids::{Generation, NodeUid};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::audit::timestamp;
use super::ingest::phase_of;
use super::resources::all;
use super::{Store, StoreError, Write};

/// Everything a tenant's plan is made from.
#[derive(Debug)]
pub(crate) struct PlanningRows {
    /// Ordered by name, as all of these.
    pub(crate) sites: Vec<Resource<Site>>,
    /// Nodes as people see them.
    pub(crate) nodes: Vec<Resource<Node>>,
    /// Everything that was pushed.
    pub(crate) versions: Vec<Resource<ModelVersion>>,
    /// The intent.
    pub(crate) deployments: Vec<Resource<ModelDeployment>>,
    /// What was done for it.
    pub(crate) rollouts: Vec<Resource<Rollout>>,
    /// Pipelines.
    pub(crate) pipelines: Vec<Resource<Pipeline>>,
    /// The devices, oldest enrollment first.
    pub(crate) devices: Vec<DeviceRow>,
}

/// What the store knows of one device.
#[derive(Debug)]
pub(crate) struct DeviceRow {
    /// Its identity.
    pub(crate) uid: NodeUid,
    /// The node it is.
    pub(crate) name: String,
    /// Whether it may connect.
    pub(crate) phase: NodePhase,
    /// When its certificate ends, in Unix milliseconds.
    pub(crate) certificate_expires_ms: i64,
    /// Whether a restored store has heard of it.
    pub(crate) memory: Memory,
    /// Its last session.
    pub(crate) session: Option<SessionRow>,
    /// What it was told last.
    pub(crate) desired: Option<DesiredRow>,
}

/// The last session of a device.
#[derive(Debug)]
pub(crate) struct SessionRow {
    /// What carries it; `None` once it ended.
    pub(crate) transport: Option<Transport>,
    /// When anything was last heard, in Unix milliseconds.
    pub(crate) last_seen_ms: i64,
    /// Version of the agent.
    pub(crate) agent_version: String,
    /// Processor.
    pub(crate) arch: String,
    /// Empty when there is none.
    pub(crate) onnxruntime: String,
    /// Whether its agent runs pipelines of the cloud.
    pub(crate) pipelines: PipelineSupport,
    /// The desired state it said it works on.
    pub(crate) applied: Option<(Generation, Digest)>,
    /// Its last `Applied` message.
    pub(crate) message: Option<Vec<u8>>,
}

/// What a device was told last.
#[derive(Debug)]
pub(crate) struct DesiredRow {
    /// Its number.
    pub(crate) generation: Generation,
    /// Of its document.
    pub(crate) digest: Digest,
    /// What it says.
    pub(crate) content: StoredContent,
}

/// What a desired state says, in the form the planner compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredContent {
    /// One per model.
    pub(crate) slots: Vec<StoredSlot>,
    /// Pipelines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pipelines: Vec<StoredPipeline>,
    /// 0 leaves it to the node.
    pub(crate) summary_window_ms: u32,
}

/// One model of a desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredSlot {
    /// The model.
    pub(crate) model: String,
    /// Its version.
    pub(crate) version: String,
    /// Stands for its files and signature.
    pub(crate) package: Digest,
    /// How long the replaced worker stays warm.
    pub(crate) prove_for_ms: u32,
    /// Whether the replaced worker may end first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) allow_gap: bool,
    /// The generation that first said all of this.
    pub(crate) since: u64,
    /// The deployment's generation when an operator took the version over from the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adopted: Option<u64>,
}

/// One pipeline of a desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredPipeline {
    /// Its name.
    pub(crate) name: String,
    /// Of its document.
    pub(crate) document: Digest,
}

/// The desired state of a node, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredDesired {
    /// Its number.
    pub(crate) generation: Generation,
    /// Of `document`.
    pub(crate) digest: Digest,
    /// An encoded `DesiredDocument`.
    pub(crate) document: Vec<u8>,
}

impl Store {
    /// Everybody who owns something.
    pub(crate) async fn tenants(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT tenant FROM resource UNION SELECT tenant FROM node_identity ORDER BY 1",
        )
        .fetch_all(&mut *self.read().await?)
        .await?)
    }

    /// What a plan for `tenant` is made from, all of one moment.
    pub(crate) async fn planning_rows(&self, tenant: &str) -> Result<PlanningRows, StoreError> {
        let mut connection = self.read().await?;
        let mut moment = sqlx::Connection::begin(&mut *connection).await?;
        Ok(PlanningRows {
            sites: all(&mut moment, tenant).await?,
            nodes: all(&mut moment, tenant).await?,
            versions: all(&mut moment, tenant).await?,
            deployments: all(&mut moment, tenant).await?,
            rollouts: all(&mut moment, tenant).await?,
            pipelines: all(&mut moment, tenant).await?,
            devices: devices(&mut moment, tenant).await?,
        })
    }

    /// The newest desired state of a node; `None` before the first.
    pub(crate) async fn desired(&self, uid: NodeUid) -> Result<Option<StoredDesired>, StoreError> {
        let row = sqlx::query("SELECT generation, digest, document FROM desired WHERE uid = ?")
            .bind(&uid.as_bytes()[..])
            .fetch_optional(&mut *self.read().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StoredDesired {
            generation: Generation::new(row.try_get::<i64, _>("generation")?.unsigned_abs()),
            digest: digest_of(row.try_get("digest")?, &uid.to_string())?,
            document: row.try_get("document")?,
        }))
    }
}

impl Write {
    /// The document of a node's desired state.
    pub(crate) async fn desired_document(
        &mut self,
        uid: NodeUid,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT document FROM desired WHERE uid = ?")
                .bind(&uid.as_bytes()[..])
                .fetch_optional(&mut **self)
                .await?,
        )
    }

    /// Stores a new desired state. `false`, and nothing is stored, unless its generation is higher
    /// than the stored one: a generation never goes backwards.
    pub(crate) async fn set_desired(
        &mut self,
        (tenant, uid): (&str, NodeUid),
        desired: &StoredDesired,
        content: &StoredContent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let generation = i64::try_from(desired.generation.get()).unwrap_or(i64::MAX);
        let content = serde_json::to_string(content).expect("texts and numbers are always JSON");
        let written = sqlx::query(
            "INSERT INTO desired (uid, tenant, generation, digest, document, content, planned_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (uid) DO UPDATE SET generation = excluded.generation, digest = excluded.digest,
             document = excluded.document, content = excluded.content, planned_ms = excluded.planned_ms
             WHERE excluded.generation > desired.generation",
        )
        .bind(&uid.as_bytes()[..])
        .bind(tenant)
        .bind(generation)
        .bind(&desired.digest.as_bytes()[..])
        .bind(&desired.document)
        .bind(content)
        .bind(now.as_millisecond())
        .execute(&mut **self)
        .await?;
        Ok(written.rows_affected() == 1)
    }
}

async fn devices(
    connection: &mut SqliteConnection,
    tenant: &str,
) -> Result<Vec<DeviceRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT n.uid, n.name, n.phase, n.certificate_expires_ms, s.term, s.transport, s.last_seen_ms,
         s.agent_version, s.arch, s.onnxruntime, s.capabilities, s.applied_generation, s.applied_digest, s.applied,
         d.generation, d.digest, d.content, u.uid IS NOT NULL AS unheard
         FROM node_identity n LEFT JOIN session s ON s.uid = n.uid LEFT JOIN desired d ON d.uid = n.uid
         LEFT JOIN unheard u ON u.uid = n.uid
         WHERE n.tenant = ? ORDER BY n.enrolled_ms, n.uid",
    )
    .bind(tenant)
    .fetch_all(connection)
    .await?;
    rows.iter().map(device_of).collect()
}

fn device_of(row: &SqliteRow) -> Result<DeviceRow, StoreError> {
    let name: String = row.try_get("name")?;
    let uid: &[u8] = row.try_get("uid")?;
    let uid = NodeUid::try_from(uid).map_err(|_| damaged("uid", &name))?;
    let expires = timestamp(row.try_get("certificate_expires_ms")?, "certificate end")?;
    Ok(DeviceRow {
        uid,
        phase: phase_of(row.try_get("phase")?, &name)?,
        certificate_expires_ms: expires.as_millisecond(),
        memory: match row.try_get("unheard")? {
            true => Memory::Restored,
            false => Memory::Whole,
        },
        session: session_of(row, &name)?,
        desired: desired_of(row, &name)?,
        name,
    })
}

fn session_of(row: &SqliteRow, name: &str) -> Result<Option<SessionRow>, StoreError> {
    if row.try_get::<Option<i64>, _>("term")?.is_none() {
        return Ok(None);
    }
    let applied = match row.try_get::<Option<&[u8]>, _>("applied_digest")? {
        None => None,
        Some(digest) => {
            let generation = row.try_get::<i64, _>("applied_generation")?.unsigned_abs();
            Some((Generation::new(generation), digest_of(digest, name)?))
        }
    };
    let transport = match row.try_get::<Option<&str>, _>("transport")? {
        None => None,
        Some("quic") => Some(Transport::Quic),
        Some("websocket") => Some(Transport::Websocket),
        Some(_) => return Err(damaged("transport", name)),
    };
    Ok(Some(SessionRow {
        transport,
        last_seen_ms: row.try_get("last_seen_ms")?,
        agent_version: row.try_get("agent_version")?,
        arch: row.try_get("arch")?,
        onnxruntime: row.try_get("onnxruntime")?,
        pipelines: pipeline_support(row.try_get("capabilities")?, name)?,
        applied,
        message: row.try_get("applied")?,
    }))
}

fn pipeline_support(capabilities: &str, name: &str) -> Result<PipelineSupport, StoreError> {
    let named: Vec<String> =
        serde_json::from_str(capabilities).map_err(|_| damaged("capabilities", name))?;
    Ok(if named.iter().any(|name| name == CAPABILITY_PIPELINES) {
        PipelineSupport::Runs
    } else {
        PipelineSupport::TooOld
    })
}

fn desired_of(row: &SqliteRow, name: &str) -> Result<Option<DesiredRow>, StoreError> {
    let Some(generation) = row.try_get::<Option<i64>, _>("generation")? else {
        return Ok(None);
    };
    let content: &str = row.try_get("content")?;
    Ok(Some(DesiredRow {
        generation: Generation::new(generation.unsigned_abs()),
        digest: digest_of(row.try_get("digest")?, name)?,
        content: serde_json::from_str(content).map_err(|_| damaged("desired state", name))?,
    }))
}

fn digest_of(bytes: &[u8], object: &str) -> Result<Digest, StoreError> {
    let bytes = bytes.try_into().map_err(|_| damaged("digest", object))?;
    Ok(Digest::from_sha256(bytes))
}

fn damaged(what: &'static str, object: &str) -> StoreError {
    StoreError::Damaged {
        what,
        object: object.to_owned(),
    }
}
