//! What cloudcore does with records, by its rule: one contiguous watermark, and every number counts once.

use anyhow::{Context, Result, ensure};
use edge_agent::store::{Outgoing, OutgoingBody};
use edge_core::outbox::Stream;
use millwright_summary::{Merged, Window};

/// The books of the cloud.
#[derive(Debug, Default)]
pub struct Sink {
    /// Everything up to here is counted.
    pub through: u64,
    /// What the windows add up to.
    pub totals: Merged,
    /// Records taken.
    pub records: u64,
    /// Sequence numbers in declared gaps.
    pub lost: u64,
    /// Longest window, in milliseconds.
    pub longest_ms: u64,
}

impl Sink {
    /// Takes one message; `requests` are those of every number that was generated, from number 1 on.
    ///
    /// # Errors
    /// When numbers are left out or come twice, or a record does not hold what its numbers did.
    pub fn take(&mut self, outgoing: &Outgoing, requests: &[u32]) -> Result<()> {
        ensure!(outgoing.stream == Stream::Summaries, "a stream of nothing");
        let (first, last) = (outgoing.first, outgoing.last);
        ensure!(
            first == self.through + 1 && last >= first,
            "{first} to {last} came after {}",
            self.through
        );
        self.through = last;
        let payload = match &outgoing.body {
            OutgoingBody::Gap(_) => {
                self.lost += last - first + 1;
                return Ok(());
            }
            OutgoingBody::Record(payload) => payload,
        };
        let window =
            Window::decode(payload).with_context(|| format!("record {first} to {last}"))?;
        let covered = usize::try_from(first - 1)?..usize::try_from(last)?;
        let expected: u64 = requests
            .get(covered)
            .context("a number that was never given")?
            .iter()
            .map(|requests| u64::from(*requests))
            .sum();
        let found: u64 = window.models.values().map(|stats| stats.requests).sum();
        ensure!(
            found == expected && window.time.windows == last - first + 1,
            "record {first} to {last} holds {found} requests in {} windows, expected {expected}",
            window.time.windows
        );
        self.longest_ms = self.longest_ms.max(window.time.length_ms);
        self.records += 1;
        self.totals.add(&window);
        Ok(())
    }
}
