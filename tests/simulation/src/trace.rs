//! What happened: a hash over everything, and the last events of every device for a failure's report.

use std::collections::VecDeque;
use std::fmt;

use crate::event::{Device, Ms};

/// Events kept per device: enough to see the session in which something went wrong.
const KEPT_MAX: usize = 60;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    at: Ms,
    number: u64,
    what: &'static str,
    a: u64,
    b: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            number,
            what,
            a,
            b,
        } = self;
        let (days, rest) = (at / 86_400_000, at % 86_400_000);
        let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
        let seconds = rest / 1_000 % 60;
        write!(
            f,
            "#{number} day {days} {hours:02}:{minutes:02}:{seconds:02}.{:03}  {what} {a} {b}",
            rest % 1_000
        )
    }
}

/// Whether every event is printed as it happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Printing {
    /// Only a failure's last events.
    #[default]
    Quiet,
    /// All of them, to standard output.
    Everything,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    kept: Vec<VecDeque<Entry>>,
    printing: Printing,
    /// Number of the event under way.
    pub number: u64,
}

impl Trace {
    /// Nothing happened yet.
    #[must_use]
    pub(crate) fn new(printing: Printing) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            kept: Vec::new(),
            printing,
            number: 0,
        }
    }

    /// Notes something about a device, or about the cloud when `device` is `None`.
    pub(crate) fn note(
        &mut self,
        at: Ms,
        device: Option<Device>,
        what: &'static str,
        a: u64,
        b: u64,
    ) {
        let index = device.map_or(0, |device| device + 1);
        for number in [at, index as u64, what.len() as u64, a, b] {
            self.mix(number);
        }
        for byte in what.bytes() {
            self.mix(byte.into());
        }
        let entry = Entry {
            at,
            number: self.number,
            what,
            a,
            b,
        };
        if self.printing == Printing::Everything {
            match device {
                Some(device) => println!("device {device:<3} {entry}"),
                None => println!("cloud      {entry}"),
            }
        }
        while self.kept.len() <= index {
            self.kept.push(VecDeque::with_capacity(KEPT_MAX));
        }
        let kept = &mut self.kept[index];
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(entry);
    }

    /// FNV-1a over words: two runs of a seed must agree in every event.
    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    /// The hash over everything noted.
    #[must_use]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events of a device, or of the cloud.
    #[must_use]
    pub(crate) fn last(&self, device: Option<Device>) -> Vec<String> {
        let index = device.map_or(0, |device| device + 1);
        let kept = self.kept.get(index);
        kept.into_iter().flatten().map(Entry::to_string).collect()
    }
}
