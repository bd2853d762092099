//! Time and bytes of the link since the agent started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_core::link::Transport;

/// Cumulative since the agent started; a window reports the differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkTotals {
    /// Time with a live session, in milliseconds.
    pub connected_ms: u64,
    /// Of that, over QUIC.
    pub quic_ms: u64,
    /// Of that, over WebSocket.
    pub websocket_ms: u64,
    /// Sessions after the first.
    pub reconnects: u64,
    /// Bytes sent: UDP payloads, or TLS records over TCP, handshakes and blobs included.
    pub sent_bytes: u64,
    /// Bytes received, counted likewise.
    pub received_bytes: u64,
    /// TLS handshakes with certificates, of sessions, probes and blobs.
    pub full_handshakes: u64,
    /// TLS handshakes that resumed an earlier connection and needed none.
    pub resumed_handshakes: u64,
}

/// How a TLS handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// Both sides proved themselves by certificate.
    Full,
    /// A ticket of an earlier connection was enough.
    Resumed,
}

/// Bytes of one connection, as they pass.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

impl Meter {
    /// Sent, received.
    pub(super) fn read(&self) -> (u64, u64) {
        (
            self.sent_bytes.load(Ordering::Relaxed),
            self.received_bytes.load(Ordering::Relaxed),
        )
    }
}

/// Where the bytes of a live connection are read from.
#[derive(Clone, Debug)]
pub(super) enum Gauge {
    Quic(quinn::Connection),
    WebSocket(Arc<Meter>),
}

impl Gauge {
    fn transport(&self) -> Transport {
        match self {
            Self::Quic(_) => Transport::Quic,
            Self::WebSocket(_) => Transport::WebSocket,
        }
    }

    fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Quic(connection) => {
                let stats = connection.stats();
                (stats.udp_tx.bytes, stats.udp_rx.bytes)
            }
            Self::WebSocket(meter) => meter.read(),
        }
    }
}

#[derive(Debug, Default)]
struct Books {
    ended: LinkTotals,
    sessions: u64,
    live: Option<(Gauge, Instant)>,
}

/// Owned by the link's task, which alone writes (blob transfers add their handshakes); read by telemetry at the cut of a window. A lock, so
/// that the end of a session is never seen half booked.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals(Arc<Mutex<Books>>);

impl Totals {
    pub(super) fn session_began(&self, gauge: Gauge) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.sessions += 1;
        books.ended.reconnects = books.sessions - 1;
        books.live = Some((gauge, Instant::now()));
    }

    pub(super) fn session_ended(&self) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.ended = books.sum();
        books.live = None;
    }

    /// A handshake over `transport` is through, after this many bytes without headers.
    pub(super) fn shook_hands(&self, transport: Transport, kind: Handshake, bytes: (u64, u64)) {
        let (sent_bytes, received_bytes) = bytes;
        tracing::debug!(%transport, ?kind, sent_bytes, received_bytes, "TLS handshake");
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            Handshake::Full => books.ended.full_handshakes += 1,
            Handshake::Resumed => books.ended.resumed_handshakes += 1,
        }
    }

    pub(super) fn read(&self) -> LinkTotals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sum()
    }
}

impl Books {
    fn sum(&self) -> LinkTotals {
        let mut sum = self.ended;
        if let Some((gauge, since)) = &self.live {
            let lasted_ms = whole_ms(since.elapsed());
            let (sent, received) = gauge.bytes();
            sum.connected_ms += lasted_ms;
            match gauge.transport() {
                Transport::Quic => sum.quic_ms += lasted_ms,
                Transport::WebSocket => sum.websocket_ms += lasted_ms,
            }
            sum.sent_bytes += sent;
            sum.received_bytes += received;
        }
        sum
    }
}

pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
