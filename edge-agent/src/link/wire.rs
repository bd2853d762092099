//! A connection that carries frames, whichever transport it is.

use std::error::Error;

use bytes::Bytes;
use millwright_proto::frame::FrameError;
use thiserror::Error;

use super::totals::Gauge;
use super::{quic, ws};

/// Why the wire failed.
#[derive(Debug, Error)]
pub(super) enum WireError {
    /// No address, connection, or handshake.
    #[error("cannot connect to {address} over {transport}: {reason}")]
    Dial {
        transport: &'static str,
        address: String,
        reason: String,
    },
    /// It broke or the other side closed it.
    #[error("the connection ended: {0}")]
    Ended(String),
    /// What was sent stayed unanswered.
    #[error("cloudcore stopped answering")]
    Silent,
    /// What arrived or was to be sent is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// An error and what caused it, in one line.
pub(super) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// One open connection.
pub(super) enum Wire {
    Quic(quic::QuicWire),
    WebSocket(Box<ws::WebSocketWire>),
}

impl Wire {
    /// The next frame body. Safe to cancel: nothing that arrived is lost.
    pub(super) async fn receive(&mut self) -> Result<Bytes, WireError> {
        match self {
            Self::Quic(wire) => wire.receive().await,
            Self::WebSocket(wire) => wire.receive().await,
        }
    }

    /// Sends one encoded message body.
    pub(super) async fn send(&mut self, body: Bytes) -> Result<(), WireError> {
        match self {
            Self::Quic(wire) => wire.send(body).await,
            Self::WebSocket(wire) => wire.send(body).await,
        }
    }

    /// Says goodbye; what was sent may still be on its way.
    pub(super) async fn close(self) {
        match self {
            Self::Quic(wire) => wire.close().await,
            Self::WebSocket(wire) => wire.close().await,
        }
    }

    pub(super) fn gauge(&self) -> Gauge {
        match self {
            Self::Quic(wire) => Gauge::Quic(wire.connection()),
            Self::WebSocket(wire) => Gauge::WebSocket(wire.meter()),
        }
    }
}
