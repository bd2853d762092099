//! Damage to closed stores, a hundred thousand times: what comes back is what was written, or is reported.
//!
//! The cases run in worker processes, because a damaged store could end its process or never open; the
//! worker's last words tell which case it was. Case `n` of a seed is the same wherever it runs, so
//! `--seed S --first N --cases 1` repeats one.

mod case;
mod damage;
mod template;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::report::{Outcome, Progress};
use case::Verdict;

/// Cases of one worker: what a panic inside a store leaves behind in memory goes with it.
const CASES_OF_A_WORKER: u64 = 1_000;

/// Findings kept in words.
const FINDINGS_MAX: usize = 50;

/// Memory a worker may claim: a damaged length must not make a small device claim more than it has.
const MEMORY_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Corruption {
    /// Cases.
    #[arg(long, default_value_t = 1_000)]
    cases: u64,
    /// Number of the first case.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Worker processes at a time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Where the stores lie; in memory when not named and there is `/dev/shm`.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Runs the cases in this process.
    #[arg(long, hide = true)]
    worker: bool,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    cases: u64,
    /// The store was as before: the damage hit nothing that counts.
    unharmed: u64,
    /// Losses were declared by number.
    declared: u64,
    /// A fresh store took the place of the damaged one, and said so.
    quarantined: u64,
    /// Opened without loss after a repair.
    repaired: u64,
    /// Wrong or missing without a word.
    silent: u64,
    /// The process ended.
    crashed: u64,
    slowest_ms: u64,
}

/// What a worker prints per case.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    case: u64,
    /// `None` when the case begins.
    verdict: Option<Verdict>,
    milliseconds: u64,
}

/// Runs it.
///
/// # Errors
/// When it cannot be carried out; broken promises are in the outcome.
pub(crate) fn run(corruption: &Corruption, seed: u64) -> Result<Option<Outcome<Figures>>> {
    if corruption.worker {
        work(corruption, seed)?;
        return Ok(None);
    }
    let mut total = Total {
        progress: Progress::new("corruption", corruption.cases, seed),
        figures: Figures::default(),
        findings: Vec::new(),
        findings_total: 0,
    };
    let end = corruption.first + corruption.cases;
    let mut next = corruption.first;
    while next < end {
        let mut workers = Vec::new();
        for _ in 0..corruption.jobs {
            let count = CASES_OF_A_WORKER.min(end - next);
            if count > 0 {
                workers.push((next, next + count, start(corruption, seed, next, count)?));
            }
            next += count;
        }
        let threads: Vec<_> = workers
            .into_iter()
            .map(|(first, end, worker)| std::thread::spawn(move || listen(first, end, worker)))
            .collect();
        for thread in threads {
            let lines = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a listener panicked"))??;
            total.take(corruption, seed, lines)?;
        }
    }
    Ok(Some(Outcome {
        torture: "corruption",
        seed,
        seconds: total.progress.seconds(),
        figures: total.figures,
        findings_total: total.findings_total,
        findings: total.findings,
    }))
}

struct Total {
    progress: Progress,
    figures: Figures,
    findings: Vec<String>,
    findings_total: u64,
}

/// What one worker said, and the case it ended in when it did not finish.
struct Heard {
    lines: Vec<Line>,
    crashed: Option<(u64, u64, String)>,
}

impl Total {
    fn take(&mut self, corruption: &Corruption, seed: u64, mut heard: Heard) -> Result<()> {
        loop {
            for line in &heard.lines {
                if let Some(verdict) = &line.verdict {
                    self.count(line.case, verdict, line.milliseconds);
                }
            }
            let Some((case, end, how)) = heard.crashed.take() else {
                return Ok(());
            };
            self.figures.cases += 1;
            self.figures.crashed += 1;
            self.find(format!("case {case}: the process ended: {how}"));
            if case + 1 >= end {
                return Ok(());
            }
            let worker = start(corruption, seed, case + 1, end - case - 1)?;
            heard = listen(case + 1, end, worker)?;
        }
    }

    fn count(&mut self, case: u64, verdict: &Verdict, milliseconds: u64) {
        self.figures.cases += 1;
        self.figures.slowest_ms = self.figures.slowest_ms.max(milliseconds);
        match verdict {
            Verdict::Unharmed => self.figures.unharmed += 1,
            Verdict::Declared => self.figures.declared += 1,
            Verdict::Quarantined => self.figures.quarantined += 1,
            Verdict::Repaired => self.figures.repaired += 1,
            Verdict::Silent(finding) => {
                self.figures.silent += 1;
                self.find(format!("case {case}: {finding}"));
            }
        }
        self.progress.at(self.figures.cases, self.findings_total);
    }

    fn find(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

fn start(corruption: &Corruption, seed: u64, first: u64, count: u64) -> Result<Child> {
    let own = std::env::current_exe().context("finding the running program")?;
    let mut command = Command::new(own);
    command
        .args(["corruption", "--worker", "--seed", &seed.to_string()])
        .args(["--first", &first.to_string(), "--cases", &count.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = &corruption.directory {
        command.arg("--directory").arg(directory);
    }
    command.spawn().context("starting a worker")
}

fn listen(first: u64, end: u64, mut worker: Child) -> Result<Heard> {
    let output = worker.stdout.take().context("the worker has no output")?;
    let errors = worker.stderr.take().context("the worker has no errors")?;
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        drop(BufReader::new(errors).read_to_string(&mut text));
        text
    });
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.context("reading a worker's output")?;
        lines.push(serde_json::from_str(&line).context("reading a worker's line")?);
    }
    let status = worker.wait().context("waiting for a worker")?;
    let errors = errors.join().unwrap_or_default();
    let done = lines
        .iter()
        .filter(|line: &&Line| line.verdict.is_some())
        .count() as u64;
    let last_words = errors.lines().last().unwrap_or_default();
    let crashed =
        (first + done < end).then(|| (first + done, end, format!("{status}; {last_words}")));
    Ok(Heard { lines, crashed })
}

/// The cases, in this process.
fn work(corruption: &Corruption, seed: u64) -> Result<()> {
    let limit = rustix::process::Rlimit {
        current: Some(MEMORY_BYTES_MAX),
        maximum: Some(MEMORY_BYTES_MAX),
    };
    rustix::process::setrlimit(rustix::process::Resource::As, limit)
        .context("bounding the memory")?;
    // A store that panics on damage is part of the game; only a panic that ends the process is news.
    std::panic::set_hook(Box::new(|_| {}));
    let directory = tempfile::tempdir_in(in_memory(corruption.directory.as_deref()))
        .context("making a directory")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("making a runtime")?;
    let template =
        runtime.block_on(template::Template::make(&directory.path().join("template")))?;
    for case in corruption.first..corruption.first + corruption.cases {
        let begin = std::time::Instant::now();
        let place = directory.path().join("case");
        let mut dice = fastrand::Rng::with_seed(seed ^ case.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let verdict = runtime.block_on(case::run(&template, &place, &mut dice))?;
        std::fs::remove_dir_all(&place).context("clearing up")?;
        let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let verdict = Some(verdict);
        let line = Line {
            case,
            verdict,
            milliseconds,
        };
        println!(
            "{}",
            serde_json::to_string(&line).context("encoding a line")?
        );
    }
    Ok(())
}

/// Where files cost no disk time, unless the caller says otherwise.
pub(crate) fn in_memory(named: Option<&Path>) -> PathBuf {
    let shared = Path::new("/dev/shm");
    match named {
        Some(directory) => directory.to_owned(),
        None if shared.is_dir() => shared.to_owned(),
        None => std::env::temp_dir(),
    }
}
