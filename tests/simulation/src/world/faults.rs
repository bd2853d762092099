//! What a fault does when it begins, and when it ends.

use std::rc::Rc;

use edge_core::link::Transport;
use edge_core::outbox::{Head, Stream};

use super::World;
use crate::books::{Cause, LineageEnd};
use crate::event::{Device, Event, MINUTE};
use crate::node::{Machine, Power, Read, Rows};
use crate::scenario::{Fault, Scheduled};
use crate::shared::Shared;

/// An armed kill comes by then at the latest.
const KILL_WITHIN: u64 = 30 * MINUTE;

/// A lying disk loses this many records at most.
const LIED_MAX: u64 = 20;

impl World {
    /// A fault begins.
    pub(super) fn begins(&mut self, index: usize) {
        let Scheduled { fault, until, .. } = self.shared.scenario.faults[index];
        if let Some(device) = fault.device() {
            if self.machines[device].power == Power::Gone {
                return;
            }
            self.machines[device].touch(&mut self.shared);
            self.shared
                .note(device, name_of(fault), index as u64, until);
        } else {
            self.shared.note_cloud(name_of(fault), index as u64, until);
        }
        let shared = &mut self.shared;
        match fault {
            Fault::Partition(device) => {
                shared.network.down[device] += 1;
                shared.cut_all(device, None);
            }
            Fault::SitePartition(site) => {
                shared.network.site_down[usize::try_from(site).unwrap_or(0)] += 1;
                for device in 0..self.machines.len() {
                    if shared.sites[device] == site {
                        shared.cut_all(device, None);
                    }
                }
            }
            Fault::NoUdp(device) => {
                shared.network.no_udp[device] += 1;
                shared.cut_all(device, Some(Transport::Quic));
            }
            Fault::Drop(device) => shared.cut_all(device, None),
            Fault::SendAgain(device) => self.machines[device].sends_again = true,
            Fault::Kill(device, step) => {
                let machine = &mut self.machines[device];
                machine.fuse = Some(step);
                if let Some(agent) = &machine.agent {
                    let kill = Event::Kill(device, agent.epoch);
                    shared.queue.at(shared.now + KILL_WITHIN, kill);
                }
            }
            Fault::PowerCut(device)
            | Fault::Quarantine(device)
            | Fault::Corrupt(device, _)
            | Fault::Lied(device) => self.machines[device].stop(shared),
            Fault::ClockJump(device) => {
                let years = i64::try_from(shared.random.below(60)).unwrap_or(0) - 30;
                self.machines[device].clock_error_ms = years * 365 * 86_400_000;
            }
            Fault::WorkerCrash(device) => {
                let pick = shared.random.bits();
                if let Some((epoch, worker)) = self.machines[device].a_worker(pick) {
                    self.machines[device].worker_dies(epoch, worker, shared);
                }
            }
            Fault::CloudCrash(step) => self.cloud.arm(step),
            Fault::Restore => self.restore(until),
            Fault::Clone(device) => self.clone_disk(device),
            Fault::Revoke(device) => {
                let uid = self.machines[device].uid;
                self.cloud.revoke(uid, shared);
            }
        }
    }

    /// A fault ends.
    pub(super) fn ends(&mut self, index: usize) {
        let Scheduled { fault, .. } = self.shared.scenario.faults[index];
        let shared = &mut self.shared;
        match fault {
            Fault::Partition(device) => shared.network.down[device] -= 1,
            Fault::SitePartition(site) => {
                shared.network.site_down[usize::try_from(site).unwrap_or(0)] -= 1;
            }
            Fault::NoUdp(device) => shared.network.no_udp[device] -= 1,
            Fault::PowerCut(device) => self.machines[device].boot(shared),
            Fault::Quarantine(device) => {
                self.machines[device].stop(shared);
                set_aside(&mut self.machines[device], shared);
                self.machines[device].boot(shared);
            }
            Fault::Corrupt(device, rows) => {
                self.machines[device].stop(shared);
                damage(&mut self.machines[device], rows, shared);
                self.machines[device].boot(shared);
            }
            Fault::Lied(device) => {
                self.machines[device].stop(shared);
                forget_last(&mut self.machines[device], shared);
                self.machines[device].boot(shared);
            }
            Fault::CloudCrash(_) => {
                if self.cloud.is_armed() {
                    self.cloud.crash(shared);
                }
                self.cloud_down();
            }
            Fault::Drop(_)
            | Fault::SendAgain(_)
            | Fault::Kill(..)
            | Fault::ClockJump(_)
            | Fault::WorkerCrash(_)
            | Fault::Restore
            | Fault::Clone(_)
            | Fault::Revoke(_) => {}
        }
    }

    /// An older backup takes the cloud's place; it runs again at `until`.
    fn restore(&mut self, until: u64) {
        self.cloud.restore(&mut self.shared);
        self.cloud.restarts = true;
        let at = until.max(self.shared.now + 1_000);
        self.shared.queue.at(at, Event::CloudUp);
        for machine in &mut self.machines {
            self.shared.books.cause(machine.device, Cause::Restore);
            let stored = self.cloud.stored(machine.uid);
            let has = machine
                .disk
                .in_force()
                .map(|current| (current.generation, current.digest));
            machine.ahead = has.is_some_and(|has| {
                stored.is_none_or(|stored| {
                    has.0 > stored.0 || (has.0 == stored.0 && has.1 != stored.1)
                })
            });
            machine.decided = has.is_some_and(|has| self.cloud.has_decision(machine.uid, has.0));
        }
    }

    /// A copy of a device's disk runs elsewhere from now on.
    fn clone_disk(&mut self, original: Device) {
        let copies = |machine: &Machine| {
            machine.device != original && machine.uid == self.machines[original].uid
        };
        if self.machines.iter().any(copies)
            || self.cloud.revoked.contains(&self.machines[original].uid)
        {
            return;
        }
        let shared = &mut self.shared;
        let lineage = self.machines[original].disk.outbox.lineage;
        shared.books.lineage(lineage).contested = true;
        let device = shared.add_copy(original);
        let copy = self.machines[original].copy(device);
        shared.note(device, "a copy of a disk", original as u64, 0);
        self.machines.push(copy);
        self.machines[device].boot(shared);
    }
}

fn set_aside(machine: &mut Machine, shared: &mut Shared) {
    let next = shared.fresh();
    let old = machine.disk.outbox.lineage;
    let contested = shared.books.facts(old).contested;
    shared.books.lineage(old).end = Some(LineageEnd::Quarantined { next });
    shared.books.lineage(next).contested = contested;
    shared.books.cause(machine.device, Cause::Quarantine);
    machine.disk.outbox = Rows::after_quarantine(next);
}

fn damage(machine: &mut Machine, rows: u32, shared: &mut Shared) {
    shared.books.cause(machine.device, Cause::Damage);
    let outbox = &mut machine.disk.outbox;
    let keys: Vec<_> = outbox.entries.keys().copied().collect();
    let blocks: Vec<_> = outbox.blocks.keys().copied().collect();
    for _ in 0..=rows {
        if !keys.is_empty() {
            let key = keys[shared.random.index(keys.len())];
            outbox.entries.remove(&key);
        }
        if !blocks.is_empty() && shared.random.one_in(4) {
            let id = blocks[shared.random.index(blocks.len())];
            if let Some(file) = outbox.files.get_mut(&id).map(Rc::make_mut) {
                let record = shared.random.index(file.len());
                file[record].read = Read::Damaged;
            }
        }
    }
    if !blocks.is_empty() && shared.random.one_in(8) {
        let id = blocks[shared.random.index(blocks.len())];
        outbox.blocks.remove(&id);
    }
    // After a lie nothing but the heads tells that numbers were given twice.
    let lied = shared.books.facts(outbox.lineage).lied;
    if shared.random.one_in(8) && !lied {
        outbox.heads.clear();
    }
}

/// The last writes of the outbox are gone although they were confirmed; the file beside it too.
fn forget_last(machine: &mut Machine, shared: &mut Shared) {
    let device = machine.device;
    shared.books.cause(device, Cause::Damage);
    let lost = shared.random.between(1, LIED_MAX);
    let rows = &mut machine.disk.outbox;
    for stream in Stream::ALL {
        let head = rows.heads.get(&stream).copied().unwrap_or_default();
        let keep = head.next.saturating_sub(1 + lost);
        let mut last = keep;
        while let Some((&(of, first), (entry, _))) =
            rows.entries.range(..=(stream, u64::MAX)).next_back()
        {
            if of != stream || entry.last <= keep {
                break;
            }
            last = last.min(first - 1);
            rows.entries.remove(&(stream, first));
        }
        // A block is written in one go, after the records in it.
        let blocks = rows.blocks.values();
        let of_stream = blocks.filter(|(of, _, end, _)| *of == stream && *end > keep);
        let first = of_stream.map(|(_, first, ..)| *first).min();
        if let Some(first) = first {
            last = last.min(first - 1);
            rows.blocks
                .retain(|_, (of, _, end, _)| *of != stream || *end < first);
            rows.entries
                .retain(|(of, begin), _| *of != stream || *begin < first);
        }
        shared.books.lied_after(device, stream, rows.lineage, last);
        let cut = Head {
            acknowledged: head.acknowledged.min(last),
            offered_up_to: head.offered_up_to.min(last),
            next: last + 1,
        };
        rows.heads.insert(stream, cut);
        if let Some(mark) = rows.mark.get_mut(&stream) {
            mark.next = mark.next.min(last + 1);
            mark.offered_up_to = mark.offered_up_to.min(last);
        }
    }
}

fn name_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Partition(_) => "FAULT no packet passes",
        Fault::SitePartition(_) => "FAULT no packet of the site passes",
        Fault::NoUdp(_) => "FAULT no datagram passes",
        Fault::Drop(_) => "FAULT the connection breaks",
        Fault::SendAgain(_) => "FAULT records will be sent twice",
        Fault::Kill(..) => "FAULT the agent will be killed",
        Fault::PowerCut(_) => "FAULT no power",
        Fault::Quarantine(_) => "FAULT no power, the outbox is unreadable",
        Fault::Corrupt(..) => "FAULT no power, rows are damaged",
        Fault::Lied(_) => "FAULT no power, the disk lied",
        Fault::ClockJump(_) => "FAULT the clock jumps",
        Fault::WorkerCrash(_) => "FAULT a worker crashes",
        Fault::CloudCrash(_) => "FAULT the cloud will crash",
        Fault::Restore => "FAULT the cloud is restored",
        Fault::Clone(_) => "FAULT the disk is copied",
        Fault::Revoke(_) => "FAULT revoked",
    }
}
