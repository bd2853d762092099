//! SQLite, redb and plain sled under the load of the outbox benchmark.
//!
//! ```text
//! millwright-peer-stores STORE MODE DIRECTORY NUMBER
//!   STORE  sqlite, sqlite-grouped, redb, redb-grouped, sled
//!   MODE   appends: 16 writers for NUMBER seconds    week: NUMBER records, one after the other
//!          reopen: open, count, append one
//! ```
//! One line of JSON when done. `week` and `reopen` then wait to be killed, so that the next opening finds
//! what a killed process leaves.

mod stores;

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stores::{Redb, Sled, Sqlite, Store};

const WRITERS: usize = 16;
const RECORD_BYTES: usize = 200;
/// The outbox puts as many records into one commit.
const GROUP_MAX: usize = 64;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, mode, directory, number] = arguments.as_slice() else {
        bail!("usage: millwright-peer-stores STORE MODE DIRECTORY NUMBER");
    };
    let number: u64 = number.parse().context("reading NUMBER")?;
    let directory = Path::new(directory);
    std::fs::create_dir_all(directory)?;
    let grouped = store.ends_with("-grouped");
    let begin = Instant::now();
    let opened: Box<dyn Store> = match store.trim_end_matches("-grouped") {
        "sqlite" => Box::new(Sqlite::open(directory)?),
        "redb" => Box::new(Redb::open(directory)?),
        "sled" => Box::new(Sled::open(directory)?),
        other => bail!("there is no store {other}"),
    };
    let open_ms = begin.elapsed().as_secs_f64() * 1_000.0;
    match mode.as_str() {
        "appends" => {
            let begin = Instant::now();
            let deadline = begin + Duration::from_secs(number);
            let records = if grouped {
                appends_grouped(opened.as_ref(), deadline)
            } else {
                appends(opened.as_ref(), deadline)
            };
            tell(open_ms, records, begin.elapsed());
            Ok(())
        }
        "week" => {
            let begin = Instant::now();
            for number in 0..number {
                opened.append(&[record(number)])?;
            }
            tell(open_ms, number, begin.elapsed());
            wait()
        }
        "reopen" => {
            let records = opened.count()?;
            let elapsed = begin.elapsed();
            opened.append(&[record(records)])?;
            tell(elapsed.as_secs_f64() * 1_000.0, records, elapsed);
            wait()
        }
        other => bail!("there is no mode {other}"),
    }
}

/// Bytes that no store compresses or guesses.
fn record(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = vec![0; RECORD_BYTES];
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
    bytes
}

fn appends(store: &dyn Store, deadline: Instant) -> u64 {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS as u64)
            .map(|writer| {
                scope.spawn(move || {
                    let mut records = 0;
                    while Instant::now() < deadline {
                        store
                            .append(&[record(records * 16 + writer)])
                            .expect("the store writes");
                        records += 1;
                    }
                    records
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer ends well"))
            .sum()
    })
}

type Waiting = (Vec<u8>, SyncSender<()>);

/// One thread commits what all writers brought meanwhile, as the outbox does.
fn appends_grouped(store: &dyn Store, deadline: Instant) -> u64 {
    let (sender, receiver): (SyncSender<Waiting>, Receiver<Waiting>) = sync_channel(GROUP_MAX);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(first) = receiver.recv() {
                let (mut records, mut replies) = (vec![first.0], vec![first.1]);
                while records.len() < GROUP_MAX {
                    let Ok((record, reply)) = receiver.try_recv() else {
                        break;
                    };
                    records.push(record);
                    replies.push(reply);
                }
                store.append(&records).expect("the store writes");
                for reply in replies {
                    let _ = reply.send(());
                }
            }
        });
        let writers: Vec<_> = (0..WRITERS as u64)
            .map(|writer| {
                let sender = sender.clone();
                scope.spawn(move || {
                    let mut records = 0;
                    while Instant::now() < deadline {
                        let (reply, done) = sync_channel(1);
                        sender
                            .send((record(records * 16 + writer), reply))
                            .expect("it listens");
                        done.recv().expect("it answers");
                        records += 1;
                    }
                    records
                })
            })
            .collect();
        drop(sender);
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer ends well"))
            .sum()
    })
}

fn tell(open_ms: f64, records: u64, elapsed: Duration) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("0");
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse()
            .unwrap_or(0)
    };
    println!(
        "{{\"open_ms\":{open_ms},\"records\":{records},\"seconds\":{},\"rss_kib\":{},\"rss_max_kib\":{}}}",
        elapsed.as_secs_f64(),
        kibibytes("VmRSS:"),
        kibibytes("VmHWM:"),
    );
}

/// Until it is killed, or whoever started it is gone.
fn wait() -> Result<()> {
    let mut end = Vec::new();
    std::io::stdin().read_to_end(&mut end)?;
    Ok(())
}
