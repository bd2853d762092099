//! Where closed windows go.

use std::convert::Infallible;

use edge_core::outbox::Stream;
use millwright_proto::ids::Lineage;
use millwright_summary::Window;

use crate::store::{Outbox, StoreError};
use crate::telemetry::{Committed, SinkWear, WindowSink};

/// Into the outbox, on their way to the cloud.
pub(super) struct OutboxSink(pub(super) Outbox);

impl WindowSink for OutboxSink {
    type Error = StoreError;

    async fn append(&mut self, window: &Window) -> Result<Committed, StoreError> {
        let place = self
            .0
            .append(Stream::Summaries, window.encode().into())
            .await?;
        Ok(Committed {
            lineage: place.lineage,
            sequence: place.sequence,
        })
    }

    fn wear(&self) -> Option<SinkWear> {
        Some(SinkWear {
            written_bytes: self.0.wear().written_bytes,
            stretch: self.0.window_stretch(),
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
