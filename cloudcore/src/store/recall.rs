//! Sessions that outlived the process: who had one when cloudcore ended, and how to reach them.

use std::net::SocketAddr;

use millwright_proto::ids::NodeUid;
use sqlx::Row;

use super::{Store, StoreError, Write};

/// Where a QUIC session comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuicPeer {
    /// The agent's address as seen here.
    pub(crate) address: SocketAddr,
    /// The connection id that the agent sends to.
    pub(crate) connection_id: Vec<u8>,
}

impl Store {
    /// Every session that is marked as live, by node and term.
    pub(crate) async fn live_sessions(&self) -> Result<Vec<(NodeUid, u64)>, StoreError> {
        let rows = sqlx::query("SELECT uid, term FROM session WHERE transport IS NOT NULL")
            .fetch_all(&mut *self.read().await?)
            .await?;
        let sessions = rows.iter().map(|row| {
            let term: i64 = row.try_get("term")?;
            Ok((uid_of(row.try_get("uid")?)?, term.unsigned_abs()))
        });
        sessions.collect()
    }

    /// The peers of the QUIC sessions that are marked as live. A row that cannot be read is left out:
    /// its node notices by itself, a keep-alive later.
    pub(crate) async fn quic_peers(&self) -> Result<Vec<(NodeUid, QuicPeer)>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.uid, p.address, p.connection_id FROM quic_peer p
             JOIN session s ON s.uid = p.uid WHERE s.transport = 'quic'",
        )
        .fetch_all(&mut *self.read().await?)
        .await?;
        let mut peers = Vec::with_capacity(rows.len());
        for row in &rows {
            let address: &str = row.try_get("address")?;
            if let Ok(address) = address.parse() {
                let connection_id = row.try_get("connection_id")?;
                let peer = QuicPeer {
                    address,
                    connection_id,
                };
                peers.push((uid_of(row.try_get("uid")?)?, peer));
            }
        }
        Ok(peers)
    }
}

impl Write {
    /// Notes where the QUIC session of a node comes from.
    pub(crate) async fn remember_peer(
        &mut self,
        (tenant, uid): (&str, NodeUid),
        peer: &QuicPeer,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO quic_peer (uid, tenant, address, connection_id) VALUES (?, ?, ?, ?)",
        )
        .bind(&uid.as_bytes()[..])
        .bind(tenant)
        .bind(peer.address.to_string())
        .bind(&peer.connection_id)
        .execute(&mut **self)
        .await?;
        Ok(())
    }
}

fn uid_of(bytes: &[u8]) -> Result<NodeUid, StoreError> {
    NodeUid::try_from(bytes).map_err(|_| StoreError::Damaged {
        what: "uid",
        object: "session".to_owned(),
    })
}
