//! `millwright-soak`: a node offline for `--days`, with one window a minute and `--quota-mib` of disk.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use millwright_soak::offline::{Offline, Outcome};

/// More futures than these are not polled in their order, and then windows would not be numbered in theirs.
const GROUP_MAX: u64 = 30;

/// A node that is offline for months, in minutes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Days without an uplink, one window a minute.
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// Disk that the outbox may use, in mebibytes.
    #[arg(long, default_value_t = 16)]
    quota_mib: u64,
    /// Appends that wait together, at most 30; 1 is what an agent does.
    #[arg(long, default_value_t = GROUP_MAX)]
    group: u64,
    /// Seed of the generated windows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to put the outbox; a temporary directory without it.
    #[arg(long)]
    directory: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let directory = arguments.directory.as_deref().unwrap_or(temporary.path());
    let run = Offline {
        minutes: arguments.days * 1440,
        quota_bytes: arguments.quota_mib * 1024 * 1024,
        group: arguments.group.clamp(1, GROUP_MAX),
        seed: arguments.seed,
    };
    let before = proc_number("/proc/self/io", "write_bytes:");
    let outcome = run
        .run(directory)
        .await
        .with_context(|| format!("{} days offline, seed {}", arguments.days, arguments.seed))?;
    let written = proc_number("/proc/self/io", "write_bytes:").saturating_sub(before);
    report(&run, &outcome, written);
    Ok(())
}

fn report(run: &Offline, outcome: &Outcome, written_bytes: u64) {
    let stats = &outcome.stats;
    let sink = &outcome.sink;
    println!(
        "{} windows of {} bytes, {} bytes in all, quota {}",
        run.minutes,
        outcome.payload_bytes / run.minutes.max(1),
        outcome.payload_bytes,
        run.quota_bytes
    );
    println!(
        "filled in {:.1?} (longest append {:.1?}), opened in {:.1?}, drained in {:.1?}",
        outcome.filling, outcome.longest_append, outcome.opening, outcome.draining
    );
    println!(
        "disk {} bytes at most, {} in the end; {} records, {} merged, {} lost; longest window {} minutes",
        outcome.used_bytes_max,
        stats.used_bytes,
        sink.records,
        stats.merged_windows,
        sink.lost,
        sink.longest_ms / 60_000
    );
    println!(
        "written {} bytes by its own account, {written_bytes} by the kernel's; peak RSS {} KiB",
        outcome.written_bytes,
        proc_number("/proc/self/status", "VmHWM:")
    );
    let requests: u64 = sink
        .totals
        .models
        .values()
        .map(|stats| stats.requests)
        .sum();
    println!("{requests} requests arrived, and everything is as it was generated");
}

/// The number behind `key` in a file of `/proc`; 0 where it is not told.
fn proc_number(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
