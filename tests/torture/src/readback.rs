//! Opens a store that something happened to, in this process, and lets a pretend cloud count what it offers.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use edge_agent::store::{Outbox, OutboxLimits, RecoveryNote};

use crate::cloud::Cloud;
use crate::message::{LineageBytes, StreamIndex};
use crate::record::{self, Token};
use crate::recorder::{describe, hello, offer, welcome};

/// Records of one offer.
const OFFER_RECORDS: usize = 64;

/// Offers of one read-back; the stores here hold a few hundred records.
const OFFERS_MAX: usize = 200;

/// What came back, beside what the cloud counted.
#[derive(Debug, Default)]
pub(crate) struct Readback {
    /// What was noted while opening.
    pub(crate) notes: Vec<RecoveryNote>,
    /// The store's lineage, when it opened.
    pub(crate) lineage: LineageBytes,
}

impl Readback {
    /// Whether a fresh store took the place of a damaged one.
    pub(crate) fn quarantined(&self) -> bool {
        let quarantine = |note: &RecoveryNote| matches!(note, RecoveryNote::Quarantined { .. });
        self.notes.iter().any(quarantine)
    }

    /// Whether anything was reported as lost.
    pub(crate) fn lost(&self) -> bool {
        let repair = |note: &RecoveryNote| matches!(note, RecoveryNote::Repaired { .. });
        !self.notes.iter().all(repair)
    }
}

/// Opens the outbox in `directory`, appends `fresh`, and lets `cloud` count everything.
///
/// # Errors
/// When the store fails; that is a broken promise.
pub(crate) async fn read_back(
    directory: &Path,
    cloud: &mut Cloud,
    fresh: Token,
) -> Result<Readback> {
    let limits = OutboxLimits {
        free_bytes_min: 0,
        ..OutboxLimits::default()
    };
    let named = |error| anyhow::anyhow!(describe(&error));
    let (outbox, notes) = Outbox::open(directory.to_owned(), limits)
        .await
        .map_err(named)?;
    let payload = Bytes::from(record::payload(fresh));
    let place = outbox
        .append(record::stream(fresh), payload)
        .await
        .map_err(named)?;
    cloud.promise(fresh, *place.lineage.as_bytes(), place.sequence);
    let greeting = hello(&outbox).await.map_err(named)?;
    let lineage = greeting.lineage;
    welcome(&outbox, &cloud.watermarks(lineage))
        .await
        .map_err(named)?;
    for _ in 0..OFFERS_MAX {
        let sent = offer(&outbox, OFFER_RECORDS).await.map_err(named)?;
        if sent.is_empty() {
            outbox.close().await;
            return Ok(Readback { notes, lineage });
        }
        cloud.receive(lineage, &sent);
        for (stream, through) in cloud.watermarks(lineage) {
            acknowledge(&outbox, stream, through).await?;
        }
    }
    anyhow::bail!("the outbox offers without end")
}

async fn acknowledge(outbox: &Outbox, stream: StreamIndex, through: u64) -> Result<()> {
    let stream = crate::recorder::named(stream);
    let acknowledged = outbox.acknowledge(stream, through).await;
    acknowledged.map_err(|error| anyhow::anyhow!(describe(&error)))
}
