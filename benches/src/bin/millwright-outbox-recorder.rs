//! Our outbox in a program of its own, with the modes and the report of `benches/peers/stores`: memory that is counted is
//! that of the outbox then, and not of everything else that the benches are made of.

#[path = "../outbox/report.rs"]
mod report;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use edge_agent::store::{Outbox, OutboxLimits};
use edge_core::outbox::Stream;

use report::{RECORD_BYTES, Report};

const WRITERS: u64 = 16;

/// Runs one mode and prints what came of it.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, directory, number] = arguments.as_slice() else {
        bail!("millwright-benches starts this: it wants MODE DIRECTORY NUMBER");
    };
    let number: u64 = number.parse().context("reading NUMBER")?;
    #[allow(
        clippy::needless_update,
        reason = "the limits this load does not care for are the default, however many there are"
    )]
    let limits = OutboxLimits {
        // Several times a week's payload: nothing may be evicted, for the peers evict nothing.
        quota_bytes: 1024 * 1024 * 1024,
        free_bytes_min: 0,
        ..OutboxLimits::default()
    };
    let begin = Instant::now();
    let (outbox, _) = Outbox::open(Path::new(directory).join("outbox"), limits).await?;
    let opened = begin.elapsed();
    match mode.as_str() {
        "appends" => {
            let begin = Instant::now();
            let records = appends(outbox, begin + Duration::from_secs(number)).await?;
            tell(opened, records, begin.elapsed())
        }
        "week" => {
            let begin = Instant::now();
            for number in 0..number {
                outbox.append(Stream::Summaries, record(number)).await?;
            }
            tell(opened, number, begin.elapsed())?;
            wait()
        }
        "reopen" => {
            let records = outbox.backlog().borrow().records;
            let elapsed = begin.elapsed();
            outbox.append(Stream::Summaries, record(records)).await?;
            tell(elapsed, records, elapsed)?;
            wait()
        }
        other => bail!("there is no mode {other}"),
    }
}

async fn appends(outbox: Outbox, deadline: Instant) -> Result<u64> {
    let outbox = Arc::new(outbox);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let outbox = Arc::clone(&outbox);
            tokio::spawn(async move {
                let mut records = 0;
                while Instant::now() < deadline {
                    let payload = record(records * WRITERS + writer);
                    outbox.append(Stream::Summaries, payload).await?;
                    records += 1;
                }
                anyhow::Ok(records)
            })
        })
        .collect();
    let mut sum = 0;
    for writer in writers {
        sum += writer.await.context("a writer panicked")??;
    }
    Ok(sum)
}

/// Bytes that no store compresses or guesses; the peers write the same.
fn record(number: u64) -> Bytes {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::new();
    for _ in 0..RECORD_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state.to_le_bytes()[0]);
    }
    Bytes::from(bytes)
}

fn tell(opened: Duration, records: u64, elapsed: Duration) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading the own status")?;
    let kibibytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap_or("0").trim().trim_end_matches("kB").trim();
        number.parse().unwrap_or(0)
    };
    let report = Report {
        open_ms: opened.as_secs_f64() * 1_000.0,
        records,
        seconds: elapsed.as_secs_f64(),
        rss_kib: kibibytes("VmRSS:"),
        rss_max_kib: kibibytes("VmHWM:"),
    };
    println!(
        "{}",
        serde_json::to_string(&report).context("encoding a report")?
    );
    Ok(())
}

/// Until it is killed, or whoever started it is gone.
fn wait() -> Result<()> {
    let mut end = Vec::new();
    std::io::stdin()
        .read_to_end(&mut end)
        .context("waiting for the end")?;
    Ok(())
}
