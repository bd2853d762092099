//! Drops what is old: windows, gaps, events, ended join tokens, watermarks of outbox stores long gone.
//!
//! Runs now and then in small bites, so that ingest never waits long for the writer. Tombstones are
//! bounded by the store itself, when it writes one. Sessions that a process left behind end in `absent.rs`.

mod absent;

use std::time::Duration;

use fleet_api::JoinToken;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;

pub(crate) use self::absent::Absent;

use crate::store::{Actor, AuditEntry, Outcome, Retention, Store, StoreError};

/// Time between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(10 * 60);

/// Pause between two bites of one round: room for ingest.
const PAUSE_BETWEEN_BITES: Duration = Duration::from_millis(200);

/// Rows of a kind dropped in one transaction: a few milliseconds.
const ROWS_PER_BITE: u32 = 2_000;

/// How long windows and gaps are kept here. Long-term metrics belong into a metrics store.
const WINDOWS_KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How many events are kept: about ten for each of 20,000 nodes.
const EVENTS_MAX: u32 = 200_000;

/// How long an ended join token can still be looked at.
const TOKENS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the watermark of an outbox store that a node gave up is remembered. Only a disk image older
/// than this, put back by hand, could have its records counted again.
const LINEAGES_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Who is named in the audit trail.
const ACTOR: &str = "expiry";

/// Runs until `shutdown` becomes true.
pub(crate) async fn run(store: Store, mut shutdown: watch::Receiver<bool>) {
    loop {
        let round = async {
            if let Err(fault) = round(&store, Timestamp::now()).await {
                let fault = anyhow::Error::new(fault);
                tracing::error!("cannot drop what is old: {fault:#}: trying again later");
            }
            sleep(ROUND_EVERY).await;
        };
        tokio::select! {
            () = round => {}
            _ = shutdown.wait_for(|ending| *ending) => return,
        }
    }
}

/// Drops everything that is old at `now`.
pub(crate) async fn round(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let before = |kept: Duration| now.checked_sub(kept).unwrap_or(Timestamp::UNIX_EPOCH);
    let retention = Retention {
        windows_before: before(WINDOWS_KEPT),
        events_max: EVENTS_MAX,
        lineages_before: before(LINEAGES_KEPT),
        rows_max: ROWS_PER_BITE,
    };
    while store.drop_old(&retention).await? >= u64::from(ROWS_PER_BITE) {
        sleep(PAUSE_BETWEEN_BITES).await;
    }
    let ended = store.ended_join_tokens(before(TOKENS_KEPT), ROWS_PER_BITE);
    for (tenant, name) in ended.await? {
        drop_token(store, tenant, &name, now).await?;
    }
    Ok(())
}

async fn drop_token(
    store: &Store,
    tenant: String,
    name: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut write = store.write().await?;
    write.remove_join_token(&tenant, name).await?;
    if write.remove::<JoinToken>(&tenant, name).await?.is_some() {
        let entry = AuditEntry {
            actor: &Actor {
                tenant,
                name: ACTOR.to_owned(),
            },
            action: "delete",
            object: &format!("JoinToken/{name}"),
            outcome: Outcome::Allowed,
            detail: "it ended a while ago",
        };
        write.audit(&entry, now).await?;
    }
    write.commit().await
}

#[cfg(test)]
mod tests;
