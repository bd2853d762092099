//! Power cuts, simulated: a recorder is halted in the middle of its writes, and every byte written
//! since its last answer is kept, lost or torn by chance, sector by sector.
//!
//! ```text
//! all answered -> copy (on disk for sure) -> orders -> halt at a random moment -> copy (perhaps on disk)
//!                      '------------- mixed in many ways, each opened by the agent's code ------'
//! ```
//!
//! What was answered before the halt must be there in every mixture of whole sectors. Where sectors are
//! garbled besides, what shared one with them may be gone, but never without a word. A halt that came after an answer
//! proves nothing about tearing, for then a sync lies between the copies; it is checked as a plain kill.

mod image;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::child::{Heard, Recorder, Start};
use crate::cloud::Cloud;
use crate::corruption::in_memory;
use crate::driver::{Driver, Ended, Pace, Until};
use crate::message::{Event, Order};
use crate::readback::read_back;
use crate::record::Token;
use crate::report::{Outcome, Progress};
use image::{Image, Sectors};

/// Only against a hang: an order is answered in milliseconds, but a phase is many, and a busy disk takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Most records recorded between two cuts.
const RECORDED_MAX: u64 = 40;

/// Most records under way at a cut.
const UNDER_WAY_MAX: u64 = 48;

/// Halts of one store, after which the next begins empty: every mixture is read back whole, so a store that
/// only grows would cost the square of its halts.
const HALTS_PER_STORE: u64 = 50;

/// Orders are assumed to take this long until it was seen.
const FIRST_GUESS: Duration = Duration::from_millis(5);

/// In percent: mixtures in which sectors under way may hold anything.
const GARBLED_PERCENT: u8 = 20;

/// First of the records appended to a mixture, far from those of the recorder.
const FRESH: Token = 1_000_000_001;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Power {
    /// Halts of a recorder.
    #[arg(long, default_value_t = 50)]
    halts: u64,
    /// Mixtures opened after each.
    #[arg(long, default_value_t = 8)]
    mixtures: u64,
    /// Where the recorder's outbox lies; a directory of its own below the system's temporary one when not named.
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    halts: u64,
    /// Halts with writes under way and no answer.
    halts_in_writes: u64,
    mixtures: u64,
    /// Mixtures that are neither of the two copies.
    torn: u64,
    /// Mixtures with garbled sectors.
    garbled: u64,
    promised: u64,
    /// Mixtures whose opening dropped a snapshot.
    repaired: u64,
    /// Mixtures that declared numbers lost.
    declared_lost: u64,
}

struct Run<'a> {
    power: &'a Power,
    live: &'a Path,
    mixed: &'a Path,
    dice: fastrand::Rng,
    cloud: Cloud,
    next_token: Token,
    usual: Duration,
    figures: Figures,
    runtime: tokio::runtime::Runtime,
}

/// Runs it.
///
/// # Errors
/// When it cannot be carried out; broken promises are in the outcome.
pub(crate) fn run(power: &Power, seed: u64) -> Result<Outcome<Figures>> {
    let temporary = tempfile::tempdir().context("making a directory")?;
    let memory = tempfile::tempdir_in(in_memory(None)).context("making a directory")?;
    let live = power
        .directory
        .as_deref()
        .unwrap_or(temporary.path())
        .join("outbox");
    let mut progress = Progress::new("power", power.halts, seed);
    let mut run = Run {
        power,
        live: &live,
        mixed: memory.path(),
        dice: fastrand::Rng::with_seed(seed),
        cloud: Cloud::default(),
        next_token: 1,
        usual: FIRST_GUESS,
        figures: Figures::default(),
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("making a runtime")?,
    };
    let mut findings = Vec::new();
    let mut findings_total = 0;
    let mut halt = 0;
    while halt < power.halts {
        let mut recorder = run.fresh_recorder()?;
        for _ in 0..HALTS_PER_STORE.min(power.halts - halt) {
            run.record(&mut recorder)?;
            run.cut(&mut recorder)?;
            halt += 1;
            progress.at(halt, findings_total + run.cloud.findings().1);
        }
        recorder.kill()?;
        std::fs::remove_dir_all(&live).context("clearing up")?;
        let cloud = std::mem::take(&mut run.cloud);
        run.figures.promised += cloud.promised();
        findings.extend_from_slice(cloud.findings().0);
        findings_total += cloud.findings().1;
    }
    Ok(Outcome {
        torture: "power",
        seed,
        seconds: progress.seconds(),
        figures: run.figures,
        findings_total,
        findings,
    })
}

impl Run<'_> {
    /// A recorder with an empty store.
    fn fresh_recorder(&self) -> Result<Recorder> {
        let mut recorder = Recorder::start(&Start {
            directory: self.live,
            free_bytes_min: 0,
            under: &[],
        })?;
        let opened = recorder.hear(Instant::now() + PATIENCE)?;
        ensure!(
            matches!(opened, Heard::Event(Event::Opened(_))),
            "the store did not open: {opened:?}"
        );
        Ok(recorder)
    }

    /// Lets it record for a while; then nothing is under way.
    fn record(&mut self, recorder: &mut Recorder) -> Result<()> {
        let total = self.cloud.promised() + self.dice.u64(1..=RECORDED_MAX);
        let driver = Driver {
            recorder,
            cloud: &mut self.cloud,
            dice: &mut self.dice,
            next_token: &mut self.next_token,
            pace: Pace {
                appends: 8,
                lost_percent: 5,
            },
            until: Until::Promised(total),
        };
        let ended = driver.run(Instant::now() + PATIENCE)?;
        ensure!(ended == Ended::Enough, "recording ended: {ended:?}");
        Ok(())
    }

    fn cut(&mut self, recorder: &mut Recorder) -> Result<()> {
        let synced = Image::read(self.live)?;
        let begin = Instant::now();
        let mut expected = self.order(recorder);
        let answers = expected;
        let at = begin + self.usual.mul_f64(self.dice.f64() * 1.1);
        while expected > 0 && self.answer(recorder, at)? {
            expected -= 1;
        }
        recorder.halt()?;
        while expected > 0 && self.answer(recorder, Instant::now())? {
            expected -= 1;
        }
        let written = Image::read(self.live)?;
        let at_halt = self.cloud.clone();
        recorder.go_on()?;
        while expected > 0 {
            ensure!(
                self.answer(recorder, Instant::now() + PATIENCE)?,
                "the recorder fell silent"
            );
            expected -= 1;
            if expected + 1 == answers {
                // Follows the machine: a moment before the first answer is where tearing happens.
                self.usual = (self.usual * 7 + begin.elapsed()) / 8;
            }
        }
        self.figures.halts += 1;
        let in_writes = expected_at_halt(&at_halt, &self.cloud, answers) && synced != written;
        self.figures.halts_in_writes += u64::from(in_writes);
        let mixtures = if in_writes { self.power.mixtures } else { 1 };
        for _ in 0..mixtures {
            let garbled = in_writes && self.dice.u8(0..100) < GARBLED_PERCENT;
            let sectors = match garbled {
                true => Sectors::Garbled,
                false => Sectors::Whole,
            };
            let mixture = match in_writes {
                true => synced.torn(&written, sectors, &mut self.dice),
                false => written.clone(),
            };
            self.figures.torn += u64::from(mixture != synced && mixture != written);
            self.check(&mixture, sectors, at_halt.clone())?;
        }
        Ok(())
    }

    /// Orders appends and sometimes a session; gives the number of answers.
    fn order(&mut self, recorder: &mut Recorder) -> u64 {
        let first = self.next_token;
        self.next_token += self.dice.u64(1..=UNDER_WAY_MAX);
        recorder.order(&Order::Append((first..self.next_token).collect()));
        self.next_token - first
    }

    /// Takes one answer, if it comes before `deadline`.
    fn answer(&mut self, recorder: &mut Recorder, deadline: Instant) -> Result<bool> {
        match recorder.hear(deadline)? {
            Heard::Event(Event::Appended(token, lineage, sequence)) => {
                self.cloud.promise(token, lineage, sequence);
                Ok(true)
            }
            Heard::Event(other) => anyhow::bail!("{other:?} was said instead of an append"),
            Heard::Silence => Ok(false),
            Heard::End => anyhow::bail!("the recorder ended by itself"),
        }
    }

    /// Opens `mixture` and compares it with what was promised at the halt.
    fn check(&mut self, mixture: &Image, sectors: Sectors, mut cloud: Cloud) -> Result<()> {
        let directory = self.mixed.join("case").join("outbox");
        mixture.write(&directory)?;
        let fresh = FRESH + self.figures.mixtures;
        self.figures.mixtures += 1;
        let declared = cloud.declared_lost;
        let before = cloud.findings().0.len();
        let readback = self
            .runtime
            .block_on(read_back(&directory, &mut cloud, fresh));
        std::fs::remove_dir_all(self.mixed.join("case")).context("clearing up")?;
        let number = self.figures.mixtures;
        match readback {
            Ok(readback) => {
                self.figures.repaired += u64::from(!readback.notes.is_empty() && !readback.lost());
                self.figures.declared_lost += u64::from(cloud.declared_lost > declared);
                self.figures.garbled += u64::from(sectors == Sectors::Garbled);
                match sectors {
                    Sectors::Whole => cloud.settle(),
                    Sectors::Garbled => cloud.settle_declared(readback.lineage),
                }
                if readback.quarantined() && sectors == Sectors::Whole {
                    self.cloud
                        .find(format!("mixture {number}: {:?}", readback.notes));
                }
            }
            Err(error) => self.cloud.find(format!("mixture {number}: {error:#}")),
        }
        for finding in cloud.findings().0.iter().skip(before) {
            self.cloud.find(format!("mixture {number}: {finding}"));
        }
        Ok(())
    }
}

/// Whether no answer was heard before the halt.
fn expected_at_halt(at_halt: &Cloud, now: &Cloud, answers: u64) -> bool {
    now.promised() - at_halt.promised() == answers
}
