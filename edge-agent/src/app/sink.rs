//! Where closed windows go.

use std::convert::Infallible;

use edge_core::outbox::Stream;
use millwright_proto::ids::Lineage;
use millwright_summary::Window;
use thiserror::Error;
use tokio::sync::watch;

use crate::control::chain;
use crate::storage::{Part, StorageHealth};
use crate::store::{Outbox, StoreError};
use crate::telemetry::{Committed, SinkWear, WindowSink};

/// Into the outbox, on their way to the cloud.
pub(super) struct OutboxSink {
    pub(super) outbox: watch::Receiver<Option<Outbox>>,
    pub(super) storage: StorageHealth,
}

/// Why a window is not stored yet.
#[derive(Debug, Error)]
pub(super) enum SinkError {
    /// The disk did not let the outbox be opened so far.
    #[error("the outbox is not open yet")]
    NotOpen,
    /// The outbox refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WindowSink for OutboxSink {
    type Error = SinkError;

    async fn append(&mut self, window: &Window) -> Result<Committed, SinkError> {
        let outbox = self.outbox.borrow().clone().ok_or(SinkError::NotOpen)?;
        let stored = outbox
            .append(Stream::Summaries, window.encode().into())
            .await;
        let told = stored.as_ref().map(drop).map_err(|error| chain(error));
        self.storage.note(Part::Outbox, &told);
        let place = stored?;
        Ok(Committed {
            lineage: place.lineage,
            sequence: place.sequence,
        })
    }

    fn wear(&self) -> Option<SinkWear> {
        let outbox = self.outbox.borrow();
        outbox.as_ref().map(|outbox| SinkWear {
            written_bytes: outbox.wear().written_bytes,
            stretch: outbox.window_stretch(),
        })
    }
}

/// Nowhere: without a cloud a window is only shown on `/metrics/summary`.
#[derive(Default)]
pub(super) struct NoSink(u64);

impl WindowSink for NoSink {
    type Error = Infallible;

    async fn append(&mut self, _window: &Window) -> Result<Committed, Infallible> {
        self.0 += 1;
        Ok(Committed {
            lineage: Lineage::from_bytes([0; 16]),
            sequence: self.0,
        })
    }

    fn wear(&self) -> Option<SinkWear> {
        None
    }
}
