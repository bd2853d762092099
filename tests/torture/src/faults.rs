//! Disks that fail or fill up under a recorder: every failed append says so and leaves nothing, and the
//! store goes on by itself once the disk does.
//!
//! Errors of single system calls come from `strace`, a full disk from a small tmpfs. Each fault says in
//! the outcome what it needed and was not there.

mod full;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::child::{Heard, Recorder, Start};
use crate::cloud::Cloud;
use crate::driver::{Driver, Ended, Pace, Until};
use crate::message::Event;
use crate::record::Token;
use crate::report::{Outcome, Progress};

/// Only against a hang: a phase is many syncs of a traced process, each slow on a busy disk.
const PATIENCE: Duration = Duration::from_secs(600);

/// Records appended before a fault, so that there is something to keep.
const BEFORE: u64 = 50;

/// Appends in a row that must return well after a fault.
const AFTER: u64 = 50;

/// Appends tried under a fault that may last.
const TRIED: u64 = 200;

/// System calls of the store's writes, the errors they meet, and whether that ends while the process lives.
const CALLS: [(&str, &str, Lasts); 5] = [
    ("fdatasync", "EIO", Lasts::ForAWhile),
    ("fdatasync", "ENOSPC", Lasts::ForAWhile),
    ("sync_file_range", "EIO", Lasts::ForAWhile),
    ("pwrite64", "EIO", Lasts::PerhapsForEver),
    ("pwrite64", "ENOSPC", Lasts::PerhapsForEver),
];

/// How long calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Appends must go well again.
    ForAWhile,
    /// `strace` counts the calls of each thread apart and every attempt to open has a thread of its own, so that it may
    /// fail each time. Then nothing may be promised, and nothing that was promised may be gone afterwards.
    PerhapsForEver,
}

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Faults {
    /// Rounds of all faults, each at other moments.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Only faults whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// What was counted, by fault.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    faults: BTreeMap<String, Fault>,
    skipped: BTreeMap<String, String>,
}

/// One kind of fault.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Fault {
    rounds: u64,
    promised: u64,
    refused: u64,
    sessions_failed: u64,
    declared_lost: u64,
    /// What the last failure said.
    error: Option<String>,
}

/// Runs it.
///
/// # Errors
/// When it cannot be carried out; broken promises are in the outcome.
pub(crate) fn run(faults: &Faults, seed: u64) -> Result<Outcome<Figures>> {
    let mut progress = Progress::new("faults", faults.rounds, seed);
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut figures = Figures::default();
    let mut findings = Vec::new();
    let traced = available("strace");
    for round in 1..=faults.rounds {
        for (call, error, lasts) in CALLS {
            let name = format!("{call} answers {error}");
            if !name.contains(&faults.only) {
                continue;
            }
            if !traced {
                figures
                    .skipped
                    .insert(name, "strace is not installed".to_owned());
                continue;
            }
            let scene = Scene::new(&mut dice)?;
            figures.add(&name, call_fails(scene, call, error, lasts)?, &mut findings);
        }
        let kinds = full::KINDS.into_iter();
        for (name, free_bytes_min) in kinds.filter(|(name, _)| name.contains(&faults.only)) {
            match full::run(&mut dice, free_bytes_min)? {
                Some(cloud) => figures.add(name, cloud, &mut findings),
                None => {
                    figures
                        .skipped
                        .insert(name.to_owned(), "mounting a tmpfs needs root".to_owned());
                }
            }
        }
        progress.at(round, findings.len() as u64);
    }
    Ok(Outcome {
        torture: "faults",
        seed,
        seconds: progress.seconds(),
        figures,
        findings_total: findings.len() as u64,
        findings,
    })
}

impl Figures {
    fn add(&mut self, name: &str, cloud: Cloud, findings: &mut Vec<String>) {
        let fault = self.faults.entry(name.to_owned()).or_default();
        fault.rounds += 1;
        fault.promised += cloud.promised();
        fault.refused += cloud.refused();
        fault.sessions_failed += cloud.sessions_failed;
        fault.declared_lost += cloud.declared_lost;
        findings.extend(
            cloud
                .findings()
                .0
                .iter()
                .map(|finding| format!("{name}: {finding}")),
        );
        fault.error = cloud.last_error.or(fault.error.take());
    }
}

pub(crate) fn available(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A recorder's surroundings.
struct Scene<'a> {
    directory: tempfile::TempDir,
    dice: &'a mut fastrand::Rng,
    cloud: Cloud,
    next_token: Token,
}

impl<'a> Scene<'a> {
    fn new(dice: &'a mut fastrand::Rng) -> Result<Self> {
        let directory = tempfile::tempdir().context("making a directory")?;
        Ok(Self {
            directory,
            dice,
            cloud: Cloud::default(),
            next_token: 1,
        })
    }

    /// Opens the store in `directory`; `None`, and a finding, when it does not.
    fn open(
        &mut self,
        directory: &Path,
        free_bytes_min: u64,
        under: &[String],
    ) -> Result<Option<Recorder>> {
        let opened = self.try_open(directory, free_bytes_min, under)?;
        Ok(opened.map_err(|error| self.cloud.find(error)).ok())
    }

    /// The recorder, or why it did not open the store.
    fn try_open(
        &mut self,
        directory: &Path,
        free_bytes_min: u64,
        under: &[String],
    ) -> Result<std::result::Result<Recorder, String>> {
        let mut recorder = Recorder::start(&Start {
            directory,
            free_bytes_min,
            under,
        })?;
        match recorder.hear(Instant::now() + PATIENCE)? {
            Heard::Event(Event::Opened(notes)) => {
                for loss in notes.losses {
                    self.cloud.find(loss);
                }
                Ok(Ok(recorder))
            }
            other => Ok(Err(format!("the store did not open: {other:?}"))),
        }
    }

    fn drive(&mut self, recorder: &mut Recorder, pace: Pace, until: Until) -> Result<()> {
        let driver = Driver {
            recorder,
            cloud: &mut self.cloud,
            dice: self.dice,
            next_token: &mut self.next_token,
            pace,
            until,
        };
        let ended = driver.run(Instant::now() + PATIENCE)?;
        if ended != Ended::Enough {
            let last = self.cloud.last_error.clone();
            self.cloud.find(format!(
                "{until:?} was not reached: {ended:?}, last error {last:?}"
            ));
        }
        Ok(())
    }

    fn busy(&mut self) -> Pace {
        Pace {
            appends: self.dice.usize(1..=12),
            lost_percent: 5,
        }
    }

    /// Opens it without any fault, drains it and compares.
    fn settle(mut self, directory: &Path) -> Result<Cloud> {
        if let Some(mut recorder) = self.open(directory, 0, &[])? {
            self.drive(&mut recorder, Pace::DRAIN, Until::Drained)?;
            recorder.close(PATIENCE)?;
        }
        self.cloud.settle();
        Ok(self.cloud)
    }
}

/// Records while some calls of `call` answer `error`.
fn call_fails(mut scene: Scene<'_>, call: &str, error: &str, lasts: Lasts) -> Result<Cloud> {
    let directory = scene.directory.path().join("outbox");
    if let Some(mut recorder) = scene.open(&directory, 0, &[])? {
        let pace = scene.busy();
        scene.drive(&mut recorder, pace, Until::Promised(BEFORE))?;
        recorder.close(PATIENCE)?;
    }
    let first = scene.dice.u64(1..=40);
    let last = first + scene.dice.u64(0..=10);
    let inject = format!(
        "inject={call}:error={error}:when={first}..{}",
        last.max(first)
    );
    let under = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &inject,
    ]
    .map(str::to_owned);
    match lasts {
        Lasts::ForAWhile => {
            if let Some(mut recorder) = scene.open(&directory, 0, &under)? {
                let pace = scene.busy();
                scene.drive(&mut recorder, pace, Until::WellAgain(AFTER))?;
                recorder.close(PATIENCE)?;
            }
        }
        Lasts::PerhapsForEver => {
            // A store that does not open promises nothing.
            if let Ok(mut recorder) = scene.try_open(&directory, 0, &under)? {
                let pace = scene.busy();
                scene.drive(&mut recorder, pace, Until::Answered(BEFORE + TRIED))?;
                recorder.close(PATIENCE)?;
            }
        }
    }
    scene.settle(&directory)
}
