//! Every record that was ever committed: counted once, or its loss declared and caused.

use std::collections::BTreeMap;

use edge_core::outbox::{GapReason, Stream};

use crate::books::{Books, Cause, Committed, LineageEnd, Unsaid};
use crate::cloud::{Cloud, Stands};
use crate::event::{Device, Down, WireId};
use crate::node::Machine;
use crate::shared::Shared;

/// What became of all records, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Became durable on a device.
    pub committed: u64,
    /// Counted by the cloud, once.
    pub counted: u64,
    /// Declared lost.
    pub declared: u64,
    /// On devices that were wiped, revoked, copied, or whose disk lied: nobody can tell.
    pub excused: u64,
}

/// Checks every record; returns what became of them.
#[must_use]
pub(crate) fn books(cloud: &Cloud, machines: &[Machine], shared: &mut Shared) -> Totals {
    let mut totals = Totals::default();
    let mut requests: BTreeMap<u8, u64> = BTreeMap::new();
    let mut wrong = None;
    for machine in machines {
        for stream in Stream::ALL {
            let records = shared.books.records(machine.device, stream);
            for (number, record) in records.iter().enumerate() {
                totals.committed += 1;
                for (release, count) in record.counts.iter().filter(|(_, count)| *count > 0) {
                    *requests.entry(*release).or_default() += u64::from(*count);
                }
                let fate = fate(cloud, machine, stream, number as u64, record, shared);
                match fate {
                    Fate::Counted => totals.counted += 1,
                    Fate::Declared => totals.declared += 1,
                    Fate::Excused => totals.excused += 1,
                    Fate::Wrong(why) => {
                        let text = format!(
                            "record {number} of {stream} (number {} of store {}) {why}",
                            record.sequence, record.lineage
                        );
                        wrong = wrong.or(Some((machine.device, text)));
                    }
                }
            }
        }
    }
    for (release, requested) in shared.books.requested.clone() {
        let unwritten = shared.books.unwritten.get(&release).copied().unwrap_or(0);
        let open: u64 = machines
            .iter()
            .map(|machine| machine.open_requests(release))
            .sum();
        let committed = requests.get(&release).copied().unwrap_or(0);
        if requested != committed + unwritten + open {
            let text = format!(
                "release {release}: {requested} requests, but {committed} in windows, {unwritten} lost with open ones"
            );
            shared.fail(None, text);
        }
    }
    if let Some((device, text)) = wrong {
        shared.fail(Some(device), text);
    }
    totals
}

/// What a device is told to be counted is: a crash of the cloud may not take it back, only a restore may.
pub(crate) fn promise(
    cloud: &Cloud,
    machine: &Machine,
    wire: WireId,
    message: &Down,
    shared: &mut Shared,
) {
    let (Down::Welcome { watermarks, .. } | Down::Ack(watermarks)) = message else {
        return;
    };
    let lineage = machine.disk.outbox.lineage;
    let life = shared.wires.get(&wire).map(|wire| wire.life);
    let listens = machine.agent.as_ref().and_then(|agent| agent.link.wire()) == Some(wire);
    if life != Some(shared.network.life) || !listens {
        return;
    }
    for (stream, told) in watermarks {
        let key = (machine.uid, lineage, *stream);
        let counted = cloud.store.watermarks.get(&key).copied().unwrap_or(0);
        if *told > counted {
            let text = format!(
                "{stream} {told} is acknowledged, but only {counted} would survive a crash"
            );
            shared.fail(Some(machine.device), text);
        }
    }
}

enum Fate {
    Counted,
    Declared,
    Excused,
    Wrong(String),
}

fn fate(
    cloud: &Cloud,
    machine: &Machine,
    stream: Stream,
    number: u64,
    record: &Committed,
    shared: &Shared,
) -> Fate {
    let books = &shared.books;
    if cloud.counted.has(machine.device, stream, number) {
        return Fate::Counted;
    }
    let facts = books.facts(record.lineage);
    let excused = facts.contested
        || record.unsaid == Unsaid::DiskLied
        || facts.end == Some(LineageEnd::Wiped)
        || cloud.revoked.contains(&machine.uid);
    if excused {
        return Fate::Excused;
    }
    if machine.disk.outbox.lineage == record.lineage && is_waiting(machine, stream, record) {
        // Recorded since the last look; it is on its way.
        return Fate::Declared;
    }
    let lineage = match facts.end {
        Some(LineageEnd::Quarantined { next }) => {
            return match is_declared_by(cloud, machine, stream, next, books) {
                true => Fate::Declared,
                false => {
                    Fate::Wrong("was in a store set aside, and no later one says so".to_owned())
                }
            };
        }
        Some(LineageEnd::Wiped) | None => record.lineage,
    };
    match cloud
        .counted
        .at(&(machine.uid, lineage, stream), record.sequence)
    {
        Stands::Gap(reason) if has_cause(books, machine.device, reason) => Fate::Declared,
        Stands::Gap(reason) => {
            Fate::Wrong(format!("is declared lost ({reason:?}) without any cause"))
        }
        Stands::Counted => {
            Fate::Wrong("is not counted, but something else is in its place".to_owned())
        }
        Stands::Nothing => Fate::Wrong("is neither counted nor declared lost".to_owned()),
    }
}

/// Whether a store that took the place of another, or one after it, declared that, or cannot because its
/// disk lost even this.
fn is_declared_by(
    cloud: &Cloud,
    machine: &Machine,
    stream: Stream,
    mut next: crate::event::LineageId,
    books: &Books,
) -> bool {
    loop {
        if books.emptied.contains(&(next, stream)) {
            return true;
        }
        let stands = cloud.counted.at(&(machine.uid, next, stream), 1);
        // A restored cloud hears of it as evicted, when it has left the acknowledged tail; and the row that
        // says so can be damaged like any other.
        let declared = match stands {
            Stands::Gap(GapReason::Quarantined | GapReason::Evicted) => true,
            Stands::Gap(GapReason::Corrupt) => books.has(machine.device, Cause::Damage),
            Stands::Gap(GapReason::FateUnknown) | Stands::Counted | Stands::Nothing => false,
        };
        if declared {
            return true;
        }
        match books.facts(next).end {
            Some(LineageEnd::Quarantined { next: later }) => next = later,
            // Who wiped the device knows.
            Some(LineageEnd::Wiped) => return true,
            None => return false,
        }
    }
}

fn is_waiting(machine: &Machine, stream: Stream, record: &Committed) -> bool {
    let Some(agent) = &machine.agent else {
        return false;
    };
    agent.outbox.ledger.head(stream).acknowledged < record.sequence
}

fn has_cause(books: &Books, device: Device, reason: GapReason) -> bool {
    let any = |causes: &[Cause]| causes.iter().any(|cause| books.has(device, *cause));
    match reason {
        GapReason::Evicted => any(&[Cause::Quota, Cause::Restore]),
        GapReason::Corrupt => any(&[Cause::Damage]),
        GapReason::FateUnknown => any(&[Cause::Quota, Cause::Damage]),
        GapReason::Quarantined => any(&[Cause::Quarantine]),
    }
}
