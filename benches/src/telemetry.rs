//! P4: the bytes of a minute of telemetry, ours beside Debian's Prometheus in agent mode, of the same node at the same time.
//!
//! ```text
//! load ─▶ Recorder ─┬─ GET /metrics ◀── two Prometheus agents (15 s, 60 s) ── remote write ─▶ counted
//!                   └─ a window a minute ── record frame over QUIC ─▶ counted on both sides, acknowledged
//! ```
//!
//! The node is this process: four models that answer ten requests a second each, with ten features and 31 classes, which
//! is a page of 507 series and a window of 16 quantile sketches. Of ours everything is counted: UDP and IP headers, TLS,
//! acknowledgements, keep-alives of the minute. Of Prometheus only what passes the socket: requests and answers without
//! TCP and IP headers, without TLS, and without metadata, all to its advantage. A repeat is one minute; the first minute,
//! in which everybody connects, is not counted.

mod node;
mod prometheus;
mod transport;

use std::time::Duration;

use anyhow::{Result, ensure};
use edge_core::summary::Cut;
use millwright_summary::{LinkStats, Window};
use tokio::time::{Instant, sleep_until};

use crate::results::Results;
use node::Node;
use prometheus::Prometheus;
use transport::Transport;

const MINUTE: Duration = Duration::from_secs(60);

/// Series of the page, as the goal states them. A machine with a thermal zone has one more.
const SERIES: usize = 507;

/// Sketches of a window, as the goal states them.
const SKETCHES: usize = 16;

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "telemetry",
        "P4: <= 1,536 bytes and <= 0.03x remote write v1 at 15 s; count, min, max, sum exact; quantiles <= 1 %",
    );
    let node = Node::start().await?;
    let mut transport = Transport::connect().await?;
    let fast = Prometheus::start(node.address, 15).await?;
    let slow = Prometheus::start(node.address, 60).await?;
    let mut end = Instant::now();
    for repeat in 0..=repeats {
        println!("telemetry: minute {repeat} of {repeats}");
        let before = (transport.bytes(), fast.bytes(), slow.bytes());
        end += MINUTE;
        sleep_until(end - Duration::from_millis(500)).await;
        let series = node.series().await?;
        let exact = node.take_values();
        let (window, _) = node
            .recorder
            .cut(node.now(), Cut::Full, LinkStats::default());
        let payload = window.encode();
        transport.send(&payload).await?;
        sleep_until(end).await;
        let ours = transport.bytes() - before.0;
        let (fast, slow) = (fast.bytes() - before.1, slow.bytes() - before.2);
        if repeat == 0 {
            continue;
        }
        ensure!(
            series >= SERIES,
            "the page has {series} series instead of {SERIES}"
        );
        let decoded = Window::decode(&payload)?;
        ensure!(
            node::sketches(&decoded) == SKETCHES,
            "another number of sketches"
        );
        let errors = exact.errors(&decoded)?;
        ensure!(fast > 0 && slow > 0, "Prometheus sent nothing");
        results.add("ours: payload of a window", "bytes", payload.len() as f64);
        results.add(
            "ours: all transport bytes of a minute",
            "bytes",
            ours as f64,
        );
        results.add("prometheus: remote write at 15 s", "bytes", fast as f64);
        results.add("prometheus: remote write at 60 s", "bytes", slow as f64);
        results.add(
            "ratio: ours / remote write at 15 s",
            "x",
            ours as f64 / fast as f64,
        );
        results.add(
            "ratio: ours / remote write at 60 s",
            "x",
            ours as f64 / slow as f64,
        );
        results.add(
            "ours: largest error of a quantile",
            "%",
            errors.quantile_percent,
        );
        results.add(
            "ours: counts, extremes or sums that differ",
            "of 64",
            errors.different as f64,
        );
    }
    Ok(results)
}
