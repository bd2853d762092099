//! kill -9 of a process that records, thousands of times: nothing promised is lost, nothing counted twice,
//! and the store opens by itself every time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::child::{Heard, Recorder, Start};
use crate::cloud::Cloud;
use crate::driver::{Driver, Ended, Pace, Until};
use crate::message::Event;
use crate::record::Token;
use crate::report::{Outcome, Progress};

/// Opening takes milliseconds; the recovery ladder's own timeouts are a minute each.
const OPEN_PATIENCE: Duration = Duration::from_secs(150);

/// Draining what a short run left takes far less.
const DRAIN_PATIENCE: Duration = Duration::from_secs(120);

/// Kills between two full drains, which check every promise and then forget it.
const DRAIN_EVERY: u64 = 250;

/// In percent: kills that come while the store is being opened.
const KILLS_WHILE_OPENING: u8 = 25;

/// Opening is assumed to take this long until it was seen.
const OPENING_FIRST_GUESS: Duration = Duration::from_millis(10);

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Kills {
    /// Kills.
    #[arg(long, default_value_t = 200)]
    pub(crate) kills: u64,
    /// Longest time between an opened store and its kill, in milliseconds.
    #[arg(long, default_value_t = 25)]
    pub(crate) record_ms_max: u64,
    /// Where the outbox lies; a directory of its own below the system's temporary one when not named.
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    kills: u64,
    kills_while_opening: u64,
    kills_while_recording: u64,
    promised: u64,
    counted: u64,
    repeats: u64,
    repaired_by_itself: u64,
    manual_repairs: u64,
    declared_lost: u64,
    open_ms_median: f64,
    open_ms_max: f64,
    store_bytes: u64,
}

struct Run<'a> {
    directory: &'a Path,
    dice: fastrand::Rng,
    cloud: Cloud,
    next_token: Token,
    record_ms_max: u64,
    opening: Vec<Duration>,
    figures: Figures,
}

/// Runs it.
///
/// # Errors
/// When it cannot be carried out; broken promises are in the outcome.
pub(crate) fn run(kills: &Kills, seed: u64) -> Result<Outcome<Figures>> {
    let temporary = tempfile::tempdir().context("making a directory")?;
    let directory = kills
        .directory
        .as_deref()
        .unwrap_or(temporary.path())
        .join("outbox");
    let mut progress = Progress::new("kills", kills.kills, seed);
    let mut run = Run {
        directory: &directory,
        dice: fastrand::Rng::with_seed(seed),
        cloud: Cloud::default(),
        next_token: 1,
        record_ms_max: kills.record_ms_max,
        opening: Vec::new(),
        figures: Figures::default(),
    };
    for kill in 1..=kills.kills {
        run.kill_once()?;
        if kill % DRAIN_EVERY == 0 || kill == kills.kills {
            run.drain()?;
        }
        progress.at(kill, run.cloud.findings().1);
    }
    let mut figures = run.figures;
    figures.counted = run.cloud.counted();
    figures.repeats = run.cloud.repeats;
    figures.declared_lost = run.cloud.declared_lost;
    run.opening.sort_unstable();
    let milliseconds =
        |duration: Option<&Duration>| duration.map_or(0.0, |d| d.as_secs_f64() * 1_000.0);
    figures.open_ms_median = milliseconds(run.opening.get(run.opening.len() / 2));
    figures.open_ms_max = milliseconds(run.opening.last());
    figures.store_bytes = size(&directory)?;
    if figures.declared_lost > 0 {
        run.cloud.find(format!(
            "{} numbers were declared lost though nothing was damaged",
            figures.declared_lost
        ));
    }
    let (findings, findings_total) = run.cloud.findings();
    Ok(Outcome {
        torture: "kills",
        seed,
        seconds: progress.seconds(),
        figures,
        findings_total,
        findings: findings.to_vec(),
    })
}

impl Run<'_> {
    fn start(&self) -> Result<Recorder> {
        Recorder::start(&Start {
            directory: self.directory,
            free_bytes_min: 0,
            under: &[],
        })
    }

    fn kill_once(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut recorder = self.start()?;
        self.figures.kills += 1;
        if self.dice.u8(0..100) < KILLS_WHILE_OPENING {
            let usual = self.opening.last().copied().unwrap_or(OPENING_FIRST_GUESS);
            let at = begin + usual.mul_f64(self.dice.f64() * 1.2);
            let opened = self.opened(&mut recorder, begin, at)?;
            self.figures.kills_while_opening += u64::from(!opened);
            self.figures.kills_while_recording += u64::from(opened);
            return self.end(recorder);
        }
        if self.opened(&mut recorder, begin, begin + OPEN_PATIENCE)? {
            let record = Duration::from_micros(self.dice.u64(0..=self.record_ms_max * 1_000));
            let pace = Pace {
                appends: self.dice.usize(1..=24),
                lost_percent: 5,
            };
            if self.figures.promised + self.cloud.promised() == 0 {
                // However slow the machine is, there is a promise to check.
                self.first_promise(&mut recorder, pace)?;
            }
            let at = Instant::now() + record;
            let ended = self.drive(&mut recorder, pace, Until::Killed, at)?;
            if ended == Ended::ByItself {
                self.cloud.find("the recorder ended by itself".to_owned());
            }
            self.figures.kills_while_recording += 1;
        } else {
            self.figures.manual_repairs += 1;
            self.cloud.find("the store did not open".to_owned());
        }
        self.end(recorder)
    }

    fn first_promise(&mut self, recorder: &mut Recorder, pace: Pace) -> Result<()> {
        let deadline = Instant::now() + OPEN_PATIENCE;
        let ended = self.drive(recorder, pace, Until::Promised(1), deadline)?;
        if ended != Ended::Enough {
            self.cloud.find(format!("nothing was promised: {ended:?}"));
        }
        Ok(())
    }

    fn drive(
        &mut self,
        recorder: &mut Recorder,
        pace: Pace,
        until: Until,
        deadline: Instant,
    ) -> Result<Ended> {
        let driver = Driver {
            recorder,
            cloud: &mut self.cloud,
            dice: &mut self.dice,
            next_token: &mut self.next_token,
            pace,
            until,
        };
        driver.run(deadline)
    }

    /// Whether the store opened before `deadline`.
    fn opened(
        &mut self,
        recorder: &mut Recorder,
        begin: Instant,
        deadline: Instant,
    ) -> Result<bool> {
        match recorder.hear(deadline)? {
            Heard::Event(event) => Ok(self.note_opening(event, begin)),
            Heard::Silence => Ok(false),
            Heard::End => {
                self.cloud
                    .find("the recorder ended while opening".to_owned());
                Ok(false)
            }
        }
    }

    fn note_opening(&mut self, event: Event, begin: Instant) -> bool {
        match event {
            Event::Opened(notes) => {
                self.opening.push(begin.elapsed());
                self.figures.repaired_by_itself += notes.repaired;
                for loss in notes.losses {
                    self.cloud.find(loss);
                }
                true
            }
            Event::Refused(error) => {
                self.figures.manual_repairs += 1;
                self.cloud.find(error);
                false
            }
            other => {
                self.cloud
                    .find(format!("{other:?} was said before the store was open"));
                false
            }
        }
    }

    /// Kills `recorder`; what it said before is a promise too.
    fn end(&mut self, recorder: Recorder) -> Result<()> {
        for event in recorder.kill()? {
            match event {
                Event::Appended(token, lineage, sequence) => {
                    self.cloud.promise(token, lineage, sequence);
                }
                Event::Failed(token, error) => self.cloud.refuse(token, error),
                // The pipe broke with the kill, so the cloud never got these.
                Event::Opened(_)
                | Event::Refused(_)
                | Event::Greeted(_)
                | Event::Welcomed
                | Event::Offered(_)
                | Event::Acknowledged
                | Event::SessionFailed(_)
                | Event::Closed => {}
            }
        }
        Ok(())
    }

    /// Lets one recorder send everything, and compares.
    fn drain(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut recorder = self.start()?;
        if !self.opened(&mut recorder, begin, begin + OPEN_PATIENCE)? {
            self.cloud
                .find("the store did not open to be drained".to_owned());
            return Ok(());
        }
        let deadline = Instant::now() + DRAIN_PATIENCE;
        let ended = self.drive(&mut recorder, Pace::DRAIN, Until::Drained, deadline)?;
        if ended != Ended::Enough {
            self.cloud.find(format!("draining ended: {ended:?}"));
        }
        recorder.close(DRAIN_PATIENCE)?;
        self.figures.promised += self.cloud.promised();
        self.cloud.settle();
        self.cloud.forget_settled();
        Ok(())
    }
}

/// Bytes of the files below `directory`.
///
/// # Errors
/// When it cannot be listed.
pub(crate) fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).context("listing the store")? {
        let entry = entry.context("listing the store")?;
        let data = entry.metadata().context("looking at a file")?;
        bytes += if data.is_dir() {
            size(&entry.path())?
        } else {
            data.len()
        };
    }
    Ok(bytes)
}
