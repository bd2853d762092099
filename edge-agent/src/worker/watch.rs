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
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn busy(ticks: u64) -> Sample {
        Sample {
            state: b'R',
            ticks,
            memory_bytes: 10 * MIB,
            asked_bytes: 20 * MIB,
            requests: 1,
            answered: 0,
        }
    }

    fn looks_until_ended(
        dog: &mut Watchdog,
        mut sample: impl FnMut(u32) -> Sample,
    ) -> (u32, WorkerEnd) {
        for look in 1..100 {
            if let Verdict::End(end) = dog.judge(sample(look)) {
                return (look, end);
            }
        }
        panic!("it is never ended");
    }

    #[test]
    fn a_stopped_process_is_ended_with_and_without_requests() {
        let mut dog = Watchdog::new(Limits::default(), Computes::OnDevice);
        let stopped = Sample {
            state: b'T',
            requests: 0,
            ..busy(7)
        };
        assert_eq!(dog.judge(stopped), Verdict::Fine);
        assert_eq!(dog.judge(busy(8)), Verdict::Fine, "it went on");
        let (looks, end) = looks_until_ended(&mut dog, |_| stopped);
        assert_eq!((looks, end), (STOPPED_LOOKS_MAX, WorkerEnd::Stopped));
    }

    #[test]
    fn a_request_that_waits_while_nothing_is_computed_means_a_hung_process() {
        let waiting = Sample {
            state: b'S',
            ..busy(7)
        };
        let mut dog = Watchdog::new(Limits::default(), Computes::OnProcessor);
        let (looks, end) = looks_until_ended(&mut dog, |_| waiting);
        assert_eq!((looks, end), (IDLE_LOOKS_MAX + 1, WorkerEnd::Hung));
        let lively = |sample: fn(u32) -> Sample, computes| {
            let mut dog = Watchdog::new(Limits::default(), computes);
            (1..100).all(|look| dog.judge(sample(look)) == Verdict::Fine)
        };
        let computing = |look: u32| Sample {
            state: b'S',
            ..busy(look.into())
        };
        let answering = |look: u32| Sample {
            state: b'S',
            answered: look.into(),
            ..busy(7)
        };
        let idle = |_| Sample {
            state: b'S',
            requests: 0,
            ..busy(7)
        };
        let reading = |_| Sample {
            state: b'D',
            ..busy(7)
        };
        let starved = |_| busy(7);
        for sample in [computing, answering, idle, reading, starved] {
            assert!(lively(sample, Computes::OnProcessor), "{:?}", sample(1));
        }
        assert!(lively(
            |_| Sample {
                state: b'S',
                ..busy(7)
            },
            Computes::OnDevice
        ));
    }

    #[test]
    fn growth_is_told_before_the_limit_and_ended_above_it() {
        let limits = Limits {
            declared_bytes: Some(100 * MIB),
            node_bytes: Some(90 * MIB),
        };
        let judged = |looks: &[(u64, u64)]| {
            let mut dog = Watchdog::new(limits, Computes::OnProcessor);
            let looks = looks.iter().map(|(memory, asked)| Sample {
                memory_bytes: memory * MIB,
                asked_bytes: asked * MIB,
                ..busy(*memory)
            });
            looks.map(|look| dog.judge(look)).last().unwrap()
        };
        let worn = |mib: u64, limit: u64| Worn {
            bytes: mib * MIB,
            limit_bytes: limit * MIB,
        };
        assert_eq!(judged(&[(10, 20), (10, 89)]), Verdict::Fine);
        assert_eq!(judged(&[(10, 20), (10, 91)]), Verdict::Worn(worn(91, 100)));
        assert_eq!(judged(&[(10, 20), (81, 82)]), Verdict::Worn(worn(81, 90)));
        assert_eq!(
            judged(&[(85, 97), (85, 97)]),
            Verdict::Fine,
            "tight, and not growing"
        );
        let end = judged(&[(10, 20), (91, 95)]);
        assert!(matches!(end, Verdict::Worn(_) | Verdict::End(_)), "{end:?}");
        let end = judged(&[(10, 20), (101, 20)]);
        assert_eq!(end, Verdict::End(WorkerEnd::TooLarge(worn(101, 100))));
    }

    #[test]
    fn the_kernel_is_read_whatever_the_process_calls_itself() {
        let stat = "42 (edge) R (x) S 1 42 42 0 -1 4194560 9 8 7 6 150 50 1 1 20 0 2";
        assert_eq!(of_stat(stat), Some((b'S', 200)));
        assert_eq!(of_stat("nothing"), None);
        let status = "VmData:\t 70 kB\nRssAnon:\t  12 kB\nRssFile:\t 99 kB\nVmSwap:\t 8 kB\n";
        assert_eq!(of_status(status), (20 * 1024, 70 * 1024));
        let own = look(std::process::id()).unwrap();
        assert!(own.asked_bytes >= own.memory_bytes / 2 && own.memory_bytes > 100_000);
    }
}
