//! What a run tells: progress for people, one line of JSON for scripts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The outcome of one kind of torture.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<T: Serialize> {
    /// Which.
    pub(crate) torture: &'static str,
    /// Reproduces it, as far as the clock allows.
    pub(crate) seed: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// What was counted.
    pub(crate) figures: T,
    /// Broken promises in all.
    pub(crate) findings_total: u64,
    /// The first of them.
    pub(crate) findings: Vec<String>,
}

impl<T: Serialize> Outcome<T> {
    /// Prints the line.
    ///
    /// # Errors
    /// When a promise was broken.
    pub(crate) fn tell(&self) -> Result<()> {
        let line = serde_json::to_string(self).context("encoding the outcome")?;
        println!("{line}");
        ensure!(
            self.findings_total == 0,
            "{}: {} broken promises with --seed {}; the first: {}",
            self.torture,
            self.findings_total,
            self.seed,
            self.findings.first().map_or("", String::as_str)
        );
        Ok(())
    }
}

/// Tells now and then how far a run is.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    begin: Instant,
    told: Instant,
}

impl Progress {
    /// Of `total` steps.
    #[must_use]
    pub(crate) fn new(what: &'static str, total: u64, seed: u64) -> Self {
        eprintln!("{what}: {total} with --seed {seed}");
        let begin = Instant::now();
        let told = begin;
        Self {
            what,
            total,
            begin,
            told,
        }
    }

    /// `done` steps are behind.
    pub(crate) fn at(&mut self, done: u64, findings: u64) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let seconds = self.begin.elapsed().as_secs();
            eprintln!(
                "{}: {done} of {} after {seconds} s, {findings} broken promises",
                self.what, self.total
            );
        }
    }

    /// Seconds since the start.
    #[must_use]
    pub(crate) fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }
}
