//! Identities of enrolled devices.

use fleet_api::{Node, NodePhase, Site};
use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use millwright_proto::ids::NodeUid;
use sqlx::{Row, SqliteConnection};

use super::audit::timestamp;
use super::ingest::phase_of;
use super::{Store, StoreError, Write};

/// A device that enrolls.
#[derive(Clone, Debug)]
pub(crate) struct NewNodeIdentity<'a> {
    /// Made on the device; never reused.
    pub(crate) uid: NodeUid,
    /// Whose.
    pub(crate) tenant: &'a str,
    /// Where it stands.
    pub(crate) site: &'a str,
    /// What it is called.
    pub(crate) name: &'a str,
    /// SubjectPublicKeyInfo DER.
    pub(crate) identity_key: &'a [u8],
    /// Serial number of its certificate.
    pub(crate) certificate_serial: &'a [u8],
    /// When its certificate ends.
    pub(crate) certificate_expires: Timestamp,
}

#[cfg(test)]
impl NewNodeIdentity<'static> {
    /// `press-1` at the site `leipzig`, as tests of other modules have it.
    pub(crate) fn press_1(uid: NodeUid, certificate_expires: Timestamp) -> Self {
        Self {
            uid,
            tenant: "default",
            site: "leipzig",
            name: "press-1",
            identity_key: b"key",
            certificate_serial: b"1",
            certificate_expires,
        }
    }
}

/// A device as it enrolled, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredNode {
    /// Whose.
    pub(crate) tenant: String,
    /// Where it stands.
    pub(crate) site: String,
    /// What it is called.
    pub(crate) name: String,
    /// SubjectPublicKeyInfo DER.
    pub(crate) identity_key: Vec<u8>,
    /// When the certificate it got last ends.
    pub(crate) certificate_expires: Timestamp,
    /// Whether it may connect.
    pub(crate) phase: NodePhase,
}

impl Store {
    /// The device with this uid; `None` when it never enrolled here.
    pub(crate) async fn registered_node(
        &self,
        uid: NodeUid,
    ) -> Result<Option<RegisteredNode>, StoreError> {
        registered(&mut *self.read().await?, uid).await
    }

    /// Devices that may not connect any more.
    pub(crate) async fn barred_nodes(&self) -> Result<Vec<NodeUid>, StoreError> {
        let uids: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT uid FROM node_identity WHERE phase <> 'Enrolled'")
                .fetch_all(&mut *self.read().await?)
                .await?;
        uids.iter().map(|uid| uid_of(uid, "a node")).collect()
    }

    /// As [`Store::barred_nodes`], and how each ended.
    pub(crate) async fn barred_phases(&self) -> Result<Vec<(NodeUid, NodePhase)>, StoreError> {
        let rows = sqlx::query("SELECT uid, phase FROM node_identity WHERE phase <> 'Enrolled'")
            .fetch_all(&mut *self.read().await?)
            .await?;
        let rows = rows.iter().map(|row| {
            let (uid, phase): (Vec<u8>, String) = (row.try_get("uid")?, row.try_get("phase")?);
            Ok((uid_of(&uid, "a node")?, phase_of(&phase, "a node")?))
        });
        rows.collect()
    }

    /// The device that bears this name and was not decommissioned.
    pub(crate) async fn node_uid(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<NodeUid>, StoreError> {
        let uid: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT uid FROM node_identity WHERE tenant = ? AND name = ? ORDER BY enrolled_ms DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(name)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        uid.map(|uid| uid_of(&uid, name)).transpose()
    }

    /// Nodes by phase, and how many have a live session.
    pub(crate) async fn node_counts(&self) -> Result<NodeCounts, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT p.phase, count(n.uid) AS nodes FROM
             (SELECT 'Enrolled' AS phase UNION SELECT 'Revoked' UNION SELECT 'Decommissioned') p
             LEFT JOIN node_identity n ON n.phase = p.phase GROUP BY p.phase",
        )
        .fetch_all(&mut *connection)
        .await?;
        let by_phase = rows
            .into_iter()
            .map(|row| Ok((row.try_get("phase")?, row.try_get("nodes")?)))
            .collect::<Result<_, sqlx::Error>>()?;
        let connected =
            sqlx::query_scalar("SELECT count(*) FROM session WHERE transport IS NOT NULL")
                .fetch_one(&mut *connection)
                .await?;
        Ok(NodeCounts {
            by_phase,
            connected,
        })
    }
}

/// How many nodes there are.
#[derive(Clone, Debug)]
pub(crate) struct NodeCounts {
    /// Phase and number.
    pub(crate) by_phase: Vec<(String, i64)>,
    /// With a live session.
    pub(crate) connected: i64,
}

impl Write {
    /// The device with this uid; `None` when it never enrolled here.
    pub(crate) async fn registered_node(
        &mut self,
        uid: NodeUid,
    ) -> Result<Option<RegisteredNode>, StoreError> {
        registered(self, uid).await
    }

    /// Whether this uid was ever enrolled.
    pub(crate) async fn knows_node(&mut self, uid: NodeUid) -> Result<bool, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM node_identity WHERE uid = ?)")
                .bind(&uid.as_bytes()[..])
                .fetch_one(&mut **self)
                .await?,
        )
    }

    /// Whether a device bears this name that was not decommissioned.
    pub(crate) async fn node_name_taken(
        &mut self,
        tenant: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM node_identity WHERE tenant = ? AND name = ? AND phase <> 'Decommissioned')",
        )
        .bind(tenant)
        .bind(name)
        .fetch_one(&mut **self)
        .await?)
    }

    /// Whether this very device is enrolled under this name, with this identity key, and may be.
    pub(crate) async fn is_enrolled_as(
        &mut self,
        identity: &NodeIdentity,
        identity_key: &[u8],
    ) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM node_identity WHERE uid = ? AND tenant = ? AND site = ?
             AND name = ? AND identity_key = ? AND phase = 'Enrolled')",
        )
        .bind(&identity.uid.as_bytes()[..])
        .bind(identity.tenant.as_str())
        .bind(identity.site.as_str())
        .bind(identity.node.as_str())
        .bind(identity_key)
        .fetch_one(&mut **self)
        .await?)
    }

    /// Records the certificate a device has from now on.
    pub(crate) async fn replace_certificate(
        &mut self,
        uid: NodeUid,
        serial: &[u8],
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE node_identity SET certificate_serial = ?, certificate_expires_ms = ? WHERE uid = ?",
        )
        .bind(serial)
        .bind(expires.as_millisecond())
        .bind(&uid.as_bytes()[..])
        .execute(&mut **self)
        .await?;
        Ok(())
    }

    /// Enrolls a device.
    pub(crate) async fn insert_node_identity(
        &mut self,
        node: &NewNodeIdentity<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO node_identity (uid, tenant, site, name, identity_key, certificate_serial,
             certificate_expires_ms, phase, enrolled_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 'Enrolled', ?)",
        )
        .bind(&node.uid.as_bytes()[..])
        .bind(node.tenant)
        .bind(node.site)
        .bind(node.name)
        .bind(node.identity_key)
        .bind(node.certificate_serial)
        .bind(node.certificate_expires.as_millisecond())
        .bind(now.as_millisecond())
        .execute(&mut **self)
        .await?;
        Ok(())
    }

    /// Counts the nodes of a site, and those with a live session, into the site's status.
    pub(crate) async fn count_nodes(&mut self, tenant: &str, site: &str) -> Result<(), StoreError> {
        let row = sqlx::query(
            "SELECT count(*) AS nodes, count(s.transport) AS connected FROM node_identity n
             LEFT JOIN session s ON s.uid = n.uid
             WHERE n.tenant = ? AND n.site = ? AND n.phase <> 'Decommissioned'",
        )
        .bind(tenant)
        .bind(site)
        .fetch_one(&mut **self)
        .await?;
        let (nodes, connected) = (row.try_get("nodes")?, row.try_get("connected")?);
        self.change_status::<Site>(tenant, site, |status| {
            status.nodes = nodes;
            status.connected = connected;
        })
        .await?;
        Ok(())
    }

    /// The last `Applied` message of the device that bears this name; `None` when it never sent one.
    pub(crate) async fn applied_message(
        &mut self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let message: Option<Option<Vec<u8>>> = sqlx::query_scalar(
            "SELECT s.applied FROM node_identity n JOIN session s ON s.uid = n.uid
             WHERE n.tenant = ? AND n.name = ? ORDER BY n.enrolled_ms DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(name)
        .fetch_optional(&mut **self)
        .await?;
        Ok(message.flatten())
    }

    /// Sets the phase of the device that bears this name; returns its uid.
    pub(crate) async fn set_node_phase(
        &mut self,
        tenant: &str,
        name: &str,
        phase: NodePhase,
    ) -> Result<Option<NodeUid>, StoreError> {
        let phase = phase_text(phase);
        let uid: Option<Vec<u8>> = sqlx::query_scalar(
            "UPDATE node_identity SET phase = ? WHERE tenant = ? AND name = ? AND phase <> 'Decommissioned' RETURNING uid",
        )
        .bind(phase)
        .bind(tenant)
        .bind(name)
        .fetch_optional(&mut **self)
        .await?;
        uid.map(|uid| uid_of(&uid, name)).transpose()
    }

    /// Ends the trust in the device `uid`, which is `node`, whatever device bears its name by now.
    pub(crate) async fn bar_node(
        &mut self,
        uid: NodeUid,
        node: &RegisteredNode,
        phase: NodePhase,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE node_identity SET phase = ? WHERE uid = ?")
            .bind(phase_text(phase))
            .bind(&uid.as_bytes()[..])
            .execute(&mut **self)
            .await?;
        let text = uid.to_string();
        self.change_status::<Node>(&node.tenant, &node.name, |status| {
            if status.uid == text {
                status.phase = phase;
            }
        })
        .await?;
        self.count_nodes(&node.tenant, &node.site).await
    }
}

fn phase_text(phase: NodePhase) -> &'static str {
    match phase {
        NodePhase::Enrolled => "Enrolled",
        NodePhase::Revoked => "Revoked",
        NodePhase::Decommissioned => "Decommissioned",
    }
}

async fn registered(
    connection: &mut SqliteConnection,
    uid: NodeUid,
) -> Result<Option<RegisteredNode>, StoreError> {
    let row = sqlx::query("SELECT * FROM node_identity WHERE uid = ?")
        .bind(&uid.as_bytes()[..])
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        let phase: String = row.try_get("phase")?;
        Ok(RegisteredNode {
            tenant: row.try_get("tenant")?,
            site: row.try_get("site")?,
            name: row.try_get("name")?,
            identity_key: row.try_get("identity_key")?,
            certificate_expires: timestamp(
                row.try_get("certificate_expires_ms")?,
                "certificate end",
            )?,
            phase: phase_of(&phase, "a node")?,
        })
    })
    .transpose()
}

fn uid_of(bytes: &[u8], name: &str) -> Result<NodeUid, StoreError> {
    NodeUid::try_from(bytes).map_err(|_| StoreError::Damaged {
        what: "uid",
        object: name.to_owned(),
    })
}
