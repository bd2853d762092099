//! Secrets that let somebody in: API tokens and join tokens. Only hashes are kept.

use jiff::Timestamp;
use millwright_proto::Digest;
use sqlx::Row;

use super::audit::timestamp;
use super::{Actor, Store, StoreError, Write};

/// What lets devices enroll, without its secret.
#[derive(Clone, Debug)]
pub(crate) struct StoredJoinToken {
    /// Public part of the token.
    pub(crate) id: String,
    /// Whose.
    pub(crate) tenant: String,
    /// Name of the `JoinToken`.
    pub(crate) name: String,
    /// Devices are enrolled here.
    pub(crate) site: String,
    /// Hash of the secret.
    pub(crate) secret_hash: Digest,
    /// Devices that may still use it.
    pub(crate) uses_left: u32,
    /// When it ends.
    pub(crate) expires: Timestamp,
    /// Whether somebody ended it early.
    pub(crate) revoked: bool,
}

impl Store {
    /// Who the API token with this hash speaks for.
    pub(crate) async fn actor_of(&self, hash: Digest) -> Result<Option<Actor>, StoreError> {
        let row = sqlx::query("SELECT tenant, name FROM api_token WHERE hash = ?")
            .bind(&hash.as_bytes()[..])
            .fetch_optional(&mut *self.read().await?)
            .await?;
        row.map(|row| {
            Ok(Actor {
                tenant: row.try_get("tenant")?,
                name: row.try_get("name")?,
            })
        })
        .transpose()
    }

    /// Whether any API token exists.
    pub(crate) async fn has_api_token(&self) -> Result<bool, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM api_token)")
                .fetch_one(&mut *self.read().await?)
                .await?,
        )
    }
}

impl Write {
    /// Lets the holder of the token with this hash act as `actor`.
    pub(crate) async fn insert_api_token(
        &mut self,
        actor: &Actor,
        hash: Digest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO api_token (hash, tenant, name, created_ms) VALUES (?, ?, ?, ?)")
            .bind(&hash.as_bytes()[..])
            .bind(&actor.tenant)
            .bind(&actor.name)
            .bind(now.as_millisecond())
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Stores a new join token.
    pub(crate) async fn insert_join_token(
        &mut self,
        token: &StoredJoinToken,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO join_token (id, tenant, name, site, secret_hash, uses_left, expires_ms, revoked)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&token.id)
        .bind(&token.tenant)
        .bind(&token.name)
        .bind(&token.site)
        .bind(&token.secret_hash.as_bytes()[..])
        .bind(token.uses_left)
        .bind(token.expires.as_millisecond())
        .bind(token.revoked)
        .execute(&mut **self)
        .await?;
        Ok(())
    }

    /// The join token with this id.
    pub(crate) async fn join_token(
        &mut self,
        id: &str,
    ) -> Result<Option<StoredJoinToken>, StoreError> {
        let row = sqlx::query("SELECT * FROM join_token WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut **self)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let secret_hash: Vec<u8> = row.try_get("secret_hash")?;
        let secret_hash = secret_hash.try_into().map_err(|_| StoreError::Damaged {
            what: "secret hash",
            object: id.to_owned(),
        })?;
        Ok(Some(StoredJoinToken {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            name: row.try_get("name")?,
            site: row.try_get("site")?,
            secret_hash: Digest::from_sha256(secret_hash),
            uses_left: row.try_get("uses_left")?,
            expires: timestamp(row.try_get("expires_ms")?, "token expiry")?,
            revoked: row.try_get("revoked")?,
        }))
    }

    /// Takes one use of a join token that has one left.
    pub(crate) async fn use_join_token(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE join_token SET uses_left = uses_left - 1 WHERE id = ?")
            .bind(id)
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Ends a join token early.
    pub(crate) async fn revoke_join_token(
        &mut self,
        tenant: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE join_token SET revoked = 1 WHERE tenant = ? AND name = ?")
            .bind(tenant)
            .bind(name)
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Forgets a join token.
    pub(crate) async fn remove_join_token(
        &mut self,
        tenant: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM join_token WHERE tenant = ? AND name = ?")
            .bind(tenant)
            .bind(name)
            .execute(&mut **self)
            .await?;
        Ok(())
    }
}
