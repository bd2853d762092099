//! How each transport is reached.

use std::sync::Arc;
use std::time::Duration;

use edge_core::link::{Routes, Transport};

use super::LinkConfig;
use super::blobs::Channel;
use super::quic::QuicDialer;
use super::totals::Totals;
use super::wire::{Wire, WireError};
use super::ws::WebSocketDialer;

/// How each transport is dialled, as far as it has an address.
pub(super) struct Dialers {
    quic: Option<QuicDialer>,
    websocket: Option<WebSocketDialer>,
}

impl Dialers {
    pub(super) fn new(
        config: &LinkConfig,
        tls: &Arc<rustls::ClientConfig>,
        totals: &Totals,
    ) -> Self {
        let quic = config.quic.clone().and_then(|address| {
            QuicDialer::new(address, tls, totals.clone())
                .inspect_err(|error| tracing::error!(%error, "QUIC cannot be used"))
                .ok()
        });
        let websocket = config.websocket.clone().map(|address| {
            WebSocketDialer::new(address, config.connector.clone(), tls, totals.clone())
        });
        Self { quic, websocket }
    }

    /// Which of them there are; `None`: no address at all.
    pub(super) fn routes(&self) -> Option<Routes> {
        match (&self.quic, &self.websocket) {
            (Some(_), Some(_)) => Some(Routes::Both),
            (Some(_), None) => Some(Routes::Only(Transport::Quic)),
            (None, Some(_)) => Some(Routes::Only(Transport::WebSocket)),
            (None, None) => None,
        }
    }

    /// Opens a connection for a session. The caller bounds the time.
    pub(super) async fn dial(&self, transport: Transport) -> Result<(Wire, Channel), WireError> {
        match (transport, &self.quic, &self.websocket) {
            (Transport::Quic, Some(dialer), _) => {
                let wire = dialer.dial().await?;
                let channel = Channel::Quic(wire.connection());
                Ok((Wire::Quic(wire), channel))
            }
            (Transport::WebSocket, _, Some(dialer)) => {
                let wire = dialer.dial().await?;
                let channel = Channel::WebSocket {
                    dialer: dialer.clone(),
                    meter: wire.meter(),
                };
                Ok((Wire::WebSocket(Box::new(wire)), channel))
            }
            (Transport::Quic | Transport::WebSocket, ..) => {
                Err(WireError::Ended(format!("{transport} has no address")))
            }
        }
    }

    /// Resolves to whether QUIC answers, beside whatever else goes on.
    pub(super) fn probe(&self, timeout: Duration) -> impl Future<Output = Probe> + Send + 'static {
        let dialer = self.quic.clone();
        async move {
            let Some(dialer) = dialer else {
                return Probe::Silent;
            };
            match tokio::time::timeout(timeout, Box::pin(dialer.probe())).await {
                Ok(Ok(())) => Probe::Answered,
                Ok(Err(_)) | Err(_) => Probe::Silent,
            }
        }
    }
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Answered,
    Silent,
}
