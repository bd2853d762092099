//! P6: the durable outbox beside SQLite, redb and plain sled: records a second with 16 writers, the disk
//! a week offline takes, reopening after kill -9, memory.
//!
//! Every store runs in a process of its own (`millwright-outbox-recorder` for ours, `benches/peers/stores` for the others),
//! so that memory is counted apart and a kill is a kill. Rates are measured on the disk of the temporary
//! directory. The week is written to memory where there is some: its bytes are the same, and 604,800 syncs
//! of a disk per store would take the day.

mod report;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use millwright_tests::checkout;

use crate::results::Results;
use report::{RECORD_BYTES, Report};

/// A record a second for seven days.
const WEEK_RECORDS: u64 = 7 * 24 * 3_600;

/// Long enough for hundreds of commits of the slowest.
const APPEND_SECONDS: u64 = 3;

/// Ours, then the peers. A peer that groups commits does it exactly as the outbox.
const STORES: [&str; 6] = [
    "outbox",
    "sqlite",
    "sqlite-grouped",
    "redb",
    "redb-grouped",
    "sled",
];

/// Reopening and the week do not depend on grouping.
const PLAIN: [&str; 4] = ["outbox", "sqlite", "redb", "sled"];

pub(crate) fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "outbox",
        "P6: >= 5x SQLite WAL FULL; a week <= 1.3x payload; reopen <= 200 ms; RSS <= 12 MiB",
    );
    let peers = peers()?;
    rates(&peers, repeats, &mut results)?;
    for store in PLAIN {
        println!("outbox: a week offline in {store}");
        week(&peers, store, repeats, &mut results)?;
    }
    Ok(results)
}

fn rates(peers: &Path, repeats: usize, results: &mut Results) -> Result<()> {
    for repeat in 0..repeats {
        println!("outbox: rates, repeat {} of {repeats}", repeat + 1);
        let mut sqlite = 0.0;
        let mut ours = 0.0;
        for store in STORES {
            let directory = tempfile::tempdir().context("making a directory")?;
            let mut process = start(peers, store, "appends", directory.path(), APPEND_SECONDS)?;
            let report = report(&mut process)?;
            process.wait().context("waiting for a store")?;
            let rate = report.records as f64 / report.seconds;
            results.add(&format!("{store}: 16 writers of 200 B"), "records/s", rate);
            match store {
                "outbox" => ours = rate,
                "sqlite" => sqlite = rate,
                _ => {}
            }
        }
        results.add("ratio: outbox / sqlite, 16 writers", "x", ours / sqlite);
    }
    Ok(())
}

fn week(peers: &Path, store: &str, repeats: usize, results: &mut Results) -> Result<()> {
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let directory = directory.context("making a directory")?;
    let mut process = start(peers, store, "week", directory.path(), WEEK_RECORDS)?;
    let written = report(&mut process)?;
    let disk_bytes = allocated(directory.path())? as f64;
    kill(process)?;
    let mebibytes = |kibibytes: u64| kibibytes as f64 / 1_024.0;
    let payload_bytes = (WEEK_RECORDS * RECORD_BYTES) as f64;
    results.add(
        &format!("{store}: a week, disk / payload"),
        "x",
        disk_bytes / payload_bytes,
    );
    results.add(
        &format!("{store}: a week, most RSS while writing"),
        "MiB",
        mebibytes(written.rss_max_kib),
    );
    for _ in 0..repeats {
        let mut process = start(peers, store, "reopen", directory.path(), 0)?;
        let reopened = report(&mut process)?;
        kill(process)?;
        ensure!(
            reopened.records >= WEEK_RECORDS,
            "{store} gave back {} of {WEEK_RECORDS} records",
            reopened.records
        );
        results.add(
            &format!("{store}: reopen after kill -9"),
            "ms",
            reopened.open_ms,
        );
        results.add(
            &format!("{store}: RSS after reopening"),
            "MiB",
            mebibytes(reopened.rss_kib),
        );
    }
    Ok(())
}

/// Builds the peers in their own workspace.
fn peers() -> Result<PathBuf> {
    let target = checkout().join("target/peer-stores");
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(checkout().join("benches/peers/stores/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "building the peers ended with {status}");
    Ok(target.join("release/millwright-peer-stores"))
}

fn start(peers: &Path, store: &str, mode: &str, directory: &Path, number: u64) -> Result<Child> {
    let mut command = match store {
        "outbox" => {
            let own = std::env::current_exe().context("finding the running program")?;
            Command::new(own.with_file_name("millwright-outbox-recorder"))
        }
        peer => {
            let mut command = Command::new(peers);
            command.arg(peer);
            command
        }
    };
    command
        .arg(mode)
        .arg(directory)
        .arg(number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("starting {store}: is it built (cargo build --release --workspace --bins)?")
        })
}

fn report(process: &mut Child) -> Result<Report> {
    let output = process.stdout.as_mut().context("a store has no output")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .context("reading a store's report")?;
    serde_json::from_str(&line).with_context(|| format!("a store reported: {line}"))
}

fn kill(mut process: Child) -> Result<()> {
    process.kill().context("killing a store")?;
    process.wait().context("waiting for a store")?;
    Ok(())
}

/// Bytes that the files below `directory` take on the disk; holes take none.
fn allocated(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;

    /// The unit of `st_blocks`, whatever the file system's own is.
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).context("listing a store")? {
        let entry = entry.context("listing a store")?;
        let data = entry.metadata().context("looking at a file")?;
        bytes += match data.is_dir() {
            true => allocated(&entry.path())?,
            false => data.blocks() * BLOCK_BYTES,
        };
    }
    Ok(bytes)
}
