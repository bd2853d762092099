//! Looks after a running worker from outside: one that stands still, or grows too large.
//!
//! ```text
//! /proc/<pid>/{stat,status} ─┐
//! requests, answers ─────────┴─▶ Sample ─▶ Watchdog::judge ─▶ Fine | Worn (replace it) | End (kill it)
//! ```
//!
//! Nothing the process says is used: a worker that is taken over or deadlocked cannot talk its way out.
//! Owns what counts as stopped, hung, worn and too large; that a worker computes for longer than its
//! manifest allows is noticed by the request itself, in [`super::ipc`].

use std::time::Duration;

use super::WorkerEnd;

/// How often a worker is looked at: two small files of /proc, some 60 microseconds.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Looks in a row that find a process stopped before it is ended. Nothing stops a worker but a person or a
/// broken supervisor of the machine; two looks let a debugger attach and go on.
const STOPPED_LOOKS_MAX: u32 = 3;

/// Looks in a row that find a request waiting, no answer since the last, no processor time used and no disk
/// waited for, before the process counts as hung. Far longer than any wait between the threads of ONNX
/// Runtime, far shorter than what a slow model may compute for.
const IDLE_LOOKS_MAX: u32 = 10;

/// Part of the room above what it had at the first look that a worker may leave unused: with less it is
/// replaced, before allocations fail in it. One that merely has a tight limit does not grow, and stays.
const ROOM_LEFT: u64 = 8;

/// What one look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// As in /proc: `R` runs, `S` sleeps, `D` waits for a disk, `T` is stopped, `t` is traced.
    pub state: u8,
    /// Processor time used by all its threads so far, in ticks.
    pub ticks: u64,
    /// Its own memory, also what was swapped out; what it shares with others left out.
    pub memory_bytes: u64,
    /// What it asked for, used or not: what `RLIMIT_DATA` is about.
    pub asked_bytes: u64,
    /// Requests waiting or running.
    pub requests: usize,
    /// Requests answered so far.
    pub answered: u64,
}

/// What to do about a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// Start another in its place while it still answers.
    Worn(Worn),
    /// End it now.
    End(WorkerEnd),
}

/// A worker that is near its memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worn {
    /// Memory it has.
    pub bytes: u64,
    /// Memory it may have.
    pub limit_bytes: u64,
}

impl std::fmt::Display for Worn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        write!(
            f,
            "it has grown to {} MiB of the {} MiB it may use",
            mib(self.bytes),
            mib(self.limit_bytes)
        )
    }
}

/// How much memory a worker may have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// What its manifest declares, which the kernel enforces on what it asks for.
    pub declared_bytes: Option<u64>,
    /// What all workers of the node may have together.
    pub node_bytes: Option<u64>,
}

/// Judges one worker.
#[derive(Debug)]
pub(super) struct Watchdog {
    limits: Limits,
    /// What it asked for and what it had at the first look, its model open.
    first: Option<(u64, u64)>,
    /// Whether a wait without processor time means that it hangs; a device may compute that long.
    idle_is_hung: bool,
    last: Option<Sample>,
    stopped: u32,
    idle: u32,
}

impl Watchdog {
    pub(super) fn new(limits: Limits, computes: Computes) -> Self {
        Self {
            limits,
            first: None,
            idle_is_hung: computes == Computes::OnProcessor,
            last: None,
            stopped: 0,
            idle: 0,
        }
    }

    /// Judges what one look found.
    pub(super) fn judge(&mut self, sample: Sample) -> Verdict {
        let last = self.last.replace(sample);
        let stopped = matches!(sample.state, b'T' | b't');
        self.stopped = if stopped { self.stopped + 1 } else { 0 };
        if self.stopped >= STOPPED_LOOKS_MAX {
            return Verdict::End(WorkerEnd::Stopped);
        }
        let stands_still = last.is_some_and(|last| {
            last.requests > 0
                && sample.requests > 0
                && last.answered == sample.answered
                && last.ticks == sample.ticks
        });
        let waits = stands_still && self.idle_is_hung && sample.state == b'S';
        self.idle = if waits { self.idle + 1 } else { 0 };
        if self.idle >= IDLE_LOOKS_MAX {
            return Verdict::End(WorkerEnd::Hung);
        }
        self.judge_memory(sample)
    }

    fn judge_memory(&mut self, sample: Sample) -> Verdict {
        let now = (sample.asked_bytes, sample.memory_bytes);
        let (first_asked, first_had) = *self.first.get_or_insert(now);
        let measures = [
            (sample.asked_bytes, first_asked, self.limits.declared_bytes),
            (sample.memory_bytes, first_had, self.limits.node_bytes),
        ];
        for (bytes, first, limit_bytes) in measures {
            let Some(limit_bytes) = limit_bytes else {
                continue;
            };
            let worn = Worn { bytes, limit_bytes };
            if sample.memory_bytes > limit_bytes {
                let bytes = sample.memory_bytes;
                return Verdict::End(WorkerEnd::TooLarge(Worn { bytes, limit_bytes }));
            }
            let room = limit_bytes.saturating_sub(first);
            if bytes > first && bytes > limit_bytes.saturating_sub(room / ROOM_LEFT) {
                return Verdict::Worn(worn);
            }
        }
        Verdict::Fine
    }
}

/// Where a model is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Computes {
    /// In the process itself.
    OnProcessor,
    /// Elsewhere, while the process may sleep.
    OnDevice,
}

/// What the kernel tells of a process, its requests left at none; `None` when it is gone.
pub(super) fn look(pid: u32) -> Option<Sample> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (state, ticks) = of_stat(&read("stat")?)?;
    let (memory_bytes, asked_bytes) = of_status(&read("status")?);
    Some(Sample {
        state,
        ticks,
        memory_bytes,
        asked_bytes,
        requests: 0,
        answered: 0,
    })
}

/// The state and the processor time (user and system) of `/proc/<pid>/stat`. The name in it may hold
/// spaces and parentheses, so what follows it is counted from its end.
fn of_stat(stat: &str) -> Option<(u8, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((state, user + system))
}

/// Memory that is the process's own, and what it asked for, in bytes; an exiting process has none.
fn of_status(status: &str) -> (u64, u64) {
    let kibibytes = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let kept = kibibytes("RssAnon:").unwrap_or(0) + kibibytes("VmSwap:").unwrap_or(0);
    let asked = kibibytes("VmData:").unwrap_or(0);
    (kept * 1024, asked * 1024)
}

#[cfg(test)]
mod tests;
