//! What really happened to every record: who committed it, as what, and which losses had a cause.
//!
//! Kept by the simulation beside both programs and shown to neither. Records of a device's stream
//! are numbered from 0 as they become durable.

use std::collections::{BTreeMap, BTreeSet};

use edge_core::outbox::Stream;
use millwright_proto::ids::{Generation, NodeUid};

use crate::event::{Device, LineageId};

/// Requests of one window by release number; a window sees at most two releases of two models.
pub(crate) type Counts = [(u8, u8); 4];

/// A record that became durable on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    /// In which outbox store.
    pub lineage: LineageId,
    /// Its sequence number there, as it is now.
    pub sequence: u64,
    /// What it counts.
    pub counts: Counts,
    /// Whether the disk that confirmed it lost it all the same.
    pub unsaid: Unsaid,
}

/// Whether a device can know that a record was ever there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsaid {
    /// It can.
    No,
    /// The disk lost it after confirming it.
    DiskLied,
}

/// How an outbox store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineageEnd {
    /// Unreadable; the next store declares it.
    Quarantined {
        /// The next store.
        next: LineageId,
    },
    /// A person wiped the device.
    Wiped,
}

/// What is known of an outbox store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineageFacts {
    /// How it ended, if it did.
    pub end: Option<LineageEnd>,
    /// A copy of it was used elsewhere: numbers stand for two things, so losses cannot be told.
    pub contested: bool,
    /// Its disk lost what it had confirmed, and numbers were given again.
    pub lied: bool,
}

/// Something that makes losses possible on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The outbox was full at least once.
    Quota,
    /// Rows were damaged, or the disk lied.
    Damage,
    /// The store was set aside.
    Quarantine,
    /// The cloud was restored.
    Restore,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Books {
    records: BTreeMap<(Device, Stream), Vec<Committed>>,
    lineages: BTreeMap<LineageId, LineageFacts>,
    /// Streams of stores whose disk lost everything it had confirmed, also what they declared first.
    pub emptied: BTreeSet<(LineageId, Stream)>,
    /// What may have cost records on which device.
    pub causes: BTreeSet<(Device, Cause)>,
    /// Nodes and generations that an operator made the cloud take over.
    pub adopted: BTreeSet<(NodeUid, Generation)>,
    /// Requests that reached a model, by release.
    pub requested: BTreeMap<u8, u64>,
    /// Of those, what a kill took with the open window.
    pub unwritten: BTreeMap<u8, u64>,
}

impl Books {
    /// The number the next record of a stream gets.
    #[must_use]
    pub(crate) fn next(&self, device: Device, stream: Stream) -> u64 {
        self.records
            .get(&(device, stream))
            .map_or(0, |records| records.len() as u64)
    }

    /// A record became durable.
    pub(crate) fn committed(&mut self, device: Device, stream: Stream, record: Committed) {
        self.records
            .entry((device, stream))
            .or_default()
            .push(record);
    }

    /// The numbers from `from` to `last` of a store became others, from `moved` on, whatever stands there by now.
    pub(crate) fn renumbered(
        &mut self,
        device: Device,
        stream: Stream,
        (lineage, from, last): (LineageId, u64, u64),
        moved: u64,
    ) {
        let records = self.records.entry((device, stream)).or_default();
        let numbers = from..=last;
        let concerned = records.iter_mut().filter(|record| {
            record.lineage == lineage
                && record.unsaid == Unsaid::No
                && numbers.contains(&record.sequence)
        });
        for record in concerned {
            record.sequence = moved + (record.sequence - from);
        }
    }

    /// The disk lost what it had confirmed above `last`, and its numbers are given again.
    pub(crate) fn lied_after(
        &mut self,
        device: Device,
        stream: Stream,
        lineage: LineageId,
        last: u64,
    ) {
        let records = self.records.entry((device, stream)).or_default();
        let lost = records
            .iter_mut()
            .rev()
            .take_while(|record| record.lineage == lineage && record.sequence > last);
        for record in lost {
            record.unsaid = Unsaid::DiskLied;
        }
        self.lineage(lineage).lied = true;
        if last == 0 {
            self.emptied.insert((lineage, stream));
        }
    }

    /// All records of a stream.
    #[must_use]
    pub(crate) fn records(&self, device: Device, stream: Stream) -> &[Committed] {
        self.records
            .get(&(device, stream))
            .map_or(&[], Vec::as_slice)
    }

    /// What is known of a store.
    pub(crate) fn lineage(&mut self, lineage: LineageId) -> &mut LineageFacts {
        self.lineages.entry(lineage).or_default()
    }

    /// What is known of a store.
    #[must_use]
    pub(crate) fn facts(&self, lineage: LineageId) -> LineageFacts {
        self.lineages.get(&lineage).copied().unwrap_or_default()
    }

    /// Something happened that makes losses possible.
    pub(crate) fn cause(&mut self, device: Device, cause: Cause) {
        self.causes.insert((device, cause));
    }

    /// Whether something like that happened.
    #[must_use]
    pub(crate) fn has(&self, device: Device, cause: Cause) -> bool {
        self.causes.contains(&(device, cause))
    }
}
