//! Windows of one minute, cut by edge-core's aggregator.

use std::collections::BTreeMap;

use edge_core::outbox::Stream;
use edge_core::summary::{Aggregator, Cut, Moment, Observation};
use millwright_proto::ids::BootId;
use millwright_summary::{ClockQuality, ErrorClass, LinkStats, Window};

use super::Models;
use crate::books::{Books, Counts};
use crate::event::{MINUTE, Ms};
use crate::node::{Killed, Machine};
use crate::shared::Shared;

/// Length of a window's record in bytes: a packet, give or take.
const BYTES_MIN: u64 = 300;
const BYTES_MAX: u64 = 1_300;

fn moment(at: Ms, clock_error_ms: i64) -> Moment {
    Moment {
        monotonic_ms: at,
        wall_ms: at.saturating_add_signed(clock_error_ms),
        clock: ClockQuality::Synchronized,
    }
}

/// The first window of a run of the agent.
pub(super) fn open(now: Ms, clock_error_ms: i64) -> Aggregator {
    let boot = BootId::from_bytes([1; 16]);
    Aggregator::new(boot, moment(now, clock_error_ms), LinkStats::default())
}

/// Requests of a window by release.
fn counts_of(window: &Window) -> Counts {
    let mut counts = Counts::default();
    for (place, (label, stats)) in counts.iter_mut().zip(&window.models) {
        let number = label.version.parse().unwrap_or(u8::MAX);
        *place = (number, u8::try_from(stats.requests).unwrap_or(u8::MAX));
    }
    counts
}

/// Adds what a window counts.
pub(in crate::node) fn add(totals: &mut BTreeMap<u8, u64>, counts: &Counts) {
    for (number, requests) in counts.iter().filter(|(_, requests)| *requests > 0) {
        *totals.entry(*number).or_default() += u64::from(*requests);
    }
}

impl Models {
    /// A kill takes the open window.
    pub(in crate::node) fn lose_open_window(mut self, books: &mut Books) {
        let now = moment(self.cut_at + 1, 0);
        let cut = Cut::Interrupted { planned_ms: MINUTE };
        let window = self.aggregator.cut(now, cut, LinkStats::default());
        add(&mut books.unwritten, &counts_of(&window));
    }

    /// Requests of a release in the open window.
    pub(in crate::node) fn open_requests(&self, release: u8) -> u64 {
        let mut copy = self.aggregator.clone();
        let now = moment(self.cut_at + 1, 0);
        let window = copy.cut(now, Cut::Full, LinkStats::default());
        let mut totals = BTreeMap::new();
        add(&mut totals, &counts_of(&window));
        totals.get(&release).copied().unwrap_or(0)
    }

    /// A few requests reach everything that serves.
    fn requests(&mut self, shared: &mut Shared) {
        let bits = shared.random.bits();
        for (place, (package, _)) in self.serving.values().enumerate() {
            let requests = bits >> (8 * place) & 3;
            for _ in 0..requests {
                let failed = Observation::Failed(ErrorClass::Shape);
                self.aggregator.request(&package.version, failed);
            }
            let number = u8::try_from(super::number_of(package)).unwrap_or(u8::MAX);
            let total = shared.books.requested.entry(number).or_default();
            *total += requests;
        }
    }
}

impl Machine {
    /// Cuts every window that is full and stores them; before anything changes what serves, so that
    /// a window never counts what came later.
    pub(in crate::node) fn cut_windows(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        let clock_error_ms = self.clock_error_ms;
        let mut records = Vec::new();
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        let models = &mut agent.models;
        while models.cut_at + MINUTE <= shared.now {
            models.requests(shared);
            let start = models.cut_at;
            models.cut_at += MINUTE;
            let end = moment(models.cut_at, clock_error_ms);
            let window = models.aggregator.cut(end, Cut::Full, LinkStats::default());
            if window.time.monotonic_start_ms != start || window.time.coverage_ms != MINUTE {
                let text = format!("a window of {:?} does not follow the last", window.time);
                shared.fail(Some(self.device), text);
            }
            let bytes = shared.random.between(BYTES_MIN, BYTES_MAX);
            records.push((bytes, counts_of(&window)));
        }
        self.append(Stream::Summaries, &records, shared)
    }
}
