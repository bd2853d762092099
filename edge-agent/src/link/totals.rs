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
}

/// Bytes of one connection, as they pass.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
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
            Self::WebSocket(meter) => (
                meter.sent_bytes.load(Ordering::Relaxed),
                meter.received_bytes.load(Ordering::Relaxed),
            ),
        }
    }
}

#[derive(Debug, Default)]
struct Books {
    ended: LinkTotals,
    sessions: u64,
    live: Option<(Gauge, Instant)>,
}

/// Owned by the link's task, which alone writes; read by telemetry at the cut of a window. A lock, so
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
