//! A connection that carries frames, whichever transport it is.

use bytes::Bytes;
use fleet_api::Transport;
use millwright_proto::frame::{self, FrameError};
use millwright_proto::link::Downlink;
use thiserror::Error;

use super::{quic, ws};
use crate::store::QuicPeer;

/// Why the wire failed.
#[derive(Debug, Error)]
pub(super) enum WireError {
    /// It broke or the agent closed it.
    #[error("the connection ended: {0}")]
    Ended(String),
    /// What arrived or was to be sent is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
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

    /// Sends one message.
    pub(super) async fn send(&mut self, message: &Downlink) -> Result<(), WireError> {
        match self {
            Self::Quic(wire) => wire.send(frame::encode_delimited(message)?).await,
            Self::WebSocket(wire) => wire.send(frame::encode_body(message)?).await,
        }
    }

    /// Says goodbye; what was sent before still arrives.
    pub(super) async fn close(self) {
        match self {
            Self::Quic(wire) => wire.close().await,
            Self::WebSocket(wire) => wire.close().await,
        }
    }

    /// Where a QUIC session comes from.
    pub(super) fn peer(&self) -> Option<QuicPeer> {
        match self {
            Self::Quic(wire) => wire.peer(),
            Self::WebSocket(_) => None,
        }
    }

    pub(super) const fn transport(&self) -> Transport {
        match self {
            Self::Quic(_) => Transport::Quic,
            Self::WebSocket(_) => Transport::Websocket,
        }
    }
}
