//! Who asks: bearer tokens of the API.
//!
//! A token is 32 random bytes; the store keeps its SHA-256 only. Looking up by hash compares nothing
//! secret byte by byte, so timing tells nothing. The first start makes one admin token and writes it
//! to `<data-dir>/admin.token` (mode 0600); deleting that file is safe.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use millwright_proto::Digest;
use thiserror::Error;

use crate::pki::{PkiError, random, write_private};
use crate::store::{Actor, AuditEntry, Outcome, Store, StoreError};

/// The tenant that everything belongs to as long as there is one.
pub(crate) const TENANT: &str = "default";

/// Name of the file with the first admin token.
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Begins every API token, so that people and secret scanners recognise one.
const TOKEN_PREFIX: &str = "mwa_";

/// Refusals audited per minute. An attacker who guesses must not fill the disk; what is beyond is
/// counted in the metrics only.
const REFUSALS_PER_MINUTE_MAX: u32 = 60;

/// Why the first admin token could not be made.
#[derive(Debug, Error)]
pub(crate) enum BootstrapError {
    /// No random bytes, or the file cannot be written.
    #[error(transparent)]
    File(#[from] PkiError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the first admin token when there is no token yet; returns its file.
pub(crate) async fn bootstrap(
    store: &Store,
    data_dir: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, BootstrapError> {
    if store.has_api_token().await? {
        return Ok(None);
    }
    let token = format!("{TOKEN_PREFIX}{}", hex::encode(random::<32>()?));
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    // The file first: a crash in between leaves a useless file, which the next start replaces.
    write_private(&path, format!("{token}\n").as_bytes())?;
    let admin = Actor {
        tenant: TENANT.to_owned(),
        name: "admin".to_owned(),
    };
    let bootstrap = Actor {
        tenant: TENANT.to_owned(),
        name: "bootstrap".to_owned(),
    };
    let mut write = store.write().await?;
    write
        .insert_api_token(&admin, Digest::of(token.as_bytes()), now)
        .await?;
    let entry = AuditEntry {
        actor: &bootstrap,
        action: "create",
        object: "ApiToken/admin",
        outcome: Outcome::Allowed,
        detail: "first start",
    };
    write.audit(&entry, now).await?;
    write.commit().await?;
    Ok(Some(path))
}

/// Who holds the token in an `Authorization` header; `None` when nobody does.
pub(crate) async fn actor_of(
    store: &Store,
    authorization: Option<&str>,
) -> Result<Option<Actor>, StoreError> {
    let Some((scheme, token)) = authorization.and_then(|text| text.split_once(' ')) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    store.actor_of(Digest::of(token.trim().as_bytes())).await
}

/// Bounds how many refusals are written to the audit trail.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// The minute that is counted, and its refusals. Owned by this type; held for no await.
    minute: Mutex<(i64, u32)>,
}

impl Refusals {
    /// Whether one more refusal may be audited now.
    pub(crate) fn admit(&self, now: Timestamp) -> bool {
        let this_minute = now.as_second() / 60;
        let mut minute = self
            .minute
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if minute.0 != this_minute {
            *minute = (this_minute, 0);
        }
        minute.1 += 1;
        minute.1 <= REFUSALS_PER_MINUTE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_start_makes_one_admin_token_and_keeps_only_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let path = bootstrap(&store, dir.path(), Timestamp::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            bootstrap(&store, dir.path(), Timestamp::UNIX_EPOCH)
                .await
                .unwrap(),
            None
        );
        let token = std::fs::read_to_string(&path).unwrap();
        let header = format!("Bearer {}", token.trim());
        let actor = actor_of(&store, Some(&header)).await.unwrap().unwrap();
        assert_eq!(actor.name, "admin");
        assert_eq!(actor_of(&store, Some("Bearer mwa_00")).await.unwrap(), None);
        store.close().await;
        let file = std::fs::read(dir.path().join(crate::store::FILE_NAME)).unwrap();
        let needle = token.trim().as_bytes();
        assert!(!file.windows(needle.len()).any(|window| window == needle));
    }

    #[test]
    fn audited_refusals_are_bounded_per_minute() {
        let refusals = Refusals::default();
        let admitted = |second| {
            let now = Timestamp::from_second(second).unwrap();
            (0..100).filter(|_| refusals.admit(now)).count()
        };
        assert_eq!(admitted(0), 60);
        assert_eq!(admitted(59), 0);
        assert_eq!(admitted(60), 60);
    }
}
