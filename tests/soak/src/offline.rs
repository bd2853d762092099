//! The run: fill, look, open again, drain, compare.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use edge_agent::store::{Outbox, OutboxLimits, OutboxStats};
use edge_core::link::Transport;
use edge_core::outbox::{Room, Stream};
use futures_util::future::try_join_all;
use millwright_summary::Merged;

use crate::generate::Generator;
use crate::sink::Sink;

/// What a session may have on its way: as much as the agent's link.
const ROOM: Room = Room {
    records: 64,
    bytes: 512 * 1024,
};

/// The quota is looked at after so many appends.
const LOOK_EVERY: u64 = 960;

/// What to play.
#[derive(Clone, Copy, Debug)]
pub struct Offline {
    /// Windows, one a minute.
    pub minutes: u64,
    /// What the outbox may take on disk.
    pub quota_bytes: u64,
    /// Appends that wait together; 1 is what an agent does, more saves time.
    pub group: u64,
    /// For the generator.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes of the windows as they were recorded.
    pub payload_bytes: u64,
    /// What the outbox said of itself before it was drained.
    pub stats: OutboxStats,
    /// The most it ever took on disk, of those moments that were looked at.
    pub used_bytes_max: u64,
    /// Time to append everything.
    pub filling: Duration,
    /// The longest that one group of appends waited.
    pub longest_append: Duration,
    /// Time to open the full outbox.
    pub opening: Duration,
    /// Time to drain it.
    pub draining: Duration,
    /// Bytes written by the outbox's own account, draining included.
    pub written_bytes: u64,
    /// What arrived.
    pub sink: Sink,
}

impl Offline {
    /// Plays it in `directory`.
    ///
    /// # Errors
    /// When anything that must hold does not.
    pub async fn run(self, directory: &Path) -> Result<Outcome> {
        let directory = directory.join("outbox");
        let limits = OutboxLimits {
            quota_bytes: self.quota_bytes,
            ..OutboxLimits::default()
        };
        let open = || async {
            let (outbox, notes) = Outbox::open(directory.clone(), limits).await?;
            ensure!(notes.is_empty(), "{notes:?}");
            anyhow::Ok(outbox)
        };
        let outbox = open().await?;
        let filled = self.fill(&outbox).await?;
        outbox.close().await;

        let began = Instant::now();
        let outbox = open().await?;
        let opening = began.elapsed();
        let stats = outbox.stats().await?;
        ensure!(
            stats == without_clock(&filled.stats, &stats),
            "opening changed {:?} to {stats:?}",
            filled.stats
        );
        let began = Instant::now();
        let sink = drain(&outbox, &filled.requests).await?;
        let draining = began.elapsed();
        let written_bytes = outbox.stats().await?.written_today_bytes;
        outbox.close().await;
        self.check(&filled, &sink)?;
        Ok(Outcome {
            payload_bytes: filled.payload_bytes,
            stats,
            used_bytes_max: filled.used_bytes_max,
            filling: filled.took,
            longest_append: filled.longest_append,
            opening,
            draining,
            written_bytes,
            sink,
        })
    }

    async fn fill(&self, outbox: &Outbox) -> Result<Filled> {
        let mut generator = Generator::new(self.seed);
        let mut filled = Filled::default();
        let began = Instant::now();
        let mut appended = 0;
        while appended < self.minutes {
            let count = self.group.min(self.minutes - appended);
            let payloads: Vec<_> = (0..count)
                .map(|_| filled.generate(&mut generator))
                .collect();
            let waiting = Instant::now();
            let appends = payloads
                .into_iter()
                .map(|payload| outbox.append(Stream::Summaries, payload));
            let places = try_join_all(appends).await?;
            filled.longest_append = filled.longest_append.max(waiting.elapsed());
            for place in places {
                appended += 1;
                ensure!(place.sequence == appended, "number {}", place.sequence);
            }
            if appended % LOOK_EVERY < count || appended == self.minutes {
                filled.stats = outbox.stats().await?;
                filled.used_bytes_max = filled.used_bytes_max.max(filled.stats.used_bytes);
            }
        }
        filled.took = began.elapsed();
        Ok(filled)
    }

    /// Everything that must hold of what was generated and what arrived.
    fn check(&self, filled: &Filled, sink: &Sink) -> Result<()> {
        ensure!(
            filled.used_bytes_max <= self.quota_bytes,
            "{} bytes on disk",
            filled.used_bytes_max
        );
        ensure!(sink.through == self.minutes, "drained to {}", sink.through);
        let declared: u64 = filled.stats.losses.values().sum();
        ensure!(
            declared == sink.lost,
            "{declared} numbers are lost by the outbox and {} by its gaps",
            sink.lost
        );
        let apart = sink.records + filled.stats.merged_windows + sink.lost;
        ensure!(
            apart == self.minutes,
            "{apart} records, merged and lost ones"
        );
        if sink.lost == 0 {
            ensure!(
                sink.totals == filled.totals,
                "the totals differ from what was generated"
            );
        }
        Ok(())
    }
}

/// What was generated and how it went in.
#[derive(Default)]
struct Filled {
    totals: Merged,
    requests: Vec<u32>,
    payload_bytes: u64,
    stats: OutboxStats,
    used_bytes_max: u64,
    took: Duration,
    longest_append: Duration,
}

impl Filled {
    fn generate(&mut self, generator: &mut Generator) -> Bytes {
        let window = generator.window();
        self.totals.add(&window);
        let requests: u64 = window.models.values().map(|stats| stats.requests).sum();
        self.requests
            .push(u32::try_from(requests).unwrap_or(u32::MAX));
        let payload = Bytes::from(window.encode());
        self.payload_bytes += payload.len() as u64;
        payload
    }
}

/// `before`, but for what opening writes and for the day that may have turned.
fn without_clock(before: &OutboxStats, after: &OutboxStats) -> OutboxStats {
    OutboxStats {
        used_bytes: after.used_bytes,
        written_today_bytes: after.written_today_bytes,
        ..before.clone()
    }
}

async fn drain(outbox: &Outbox, requests: &[u32]) -> Result<Sink> {
    let mut sink = Sink::default();
    outbox.greet().await?;
    outbox
        .welcomed(Transport::Quic, b"soak".to_vec(), Vec::new())
        .await?;
    loop {
        let offered = outbox.offer(ROOM).await?;
        if offered.is_empty() {
            break;
        }
        for outgoing in &offered {
            sink.take(outgoing, requests)?;
        }
        outbox
            .acknowledge(Stream::Summaries, sink.through)
            .await
            .context("acknowledging")?;
    }
    let left = *outbox.backlog().borrow();
    ensure!(left.records == 0, "{left:?} is left");
    Ok(sink)
}
