//! What people do every few hours: backups, decisions about held nodes, devices that were sent away.

use super::World;
use crate::books::LineageEnd;
use crate::event::{Device, Event, Fence, HOUR, MINUTE};
use crate::node::{Machine, Power};

impl World {
    /// One round of the operator.
    pub(super) fn round(&mut self) {
        let shared = &mut self.shared;
        let pause = shared.random.between(30 * MINUTE, 3 * HOUR);
        shared.queue.at(shared.now + pause, Event::Round);
        if !shared.network.cloud_down
            && shared.now < shared.scenario.end
            && shared.now >= self.backed_up + shared.scenario.backup_every
        {
            self.backed_up = shared.now;
            self.cloud.back_up(shared);
        }
        for (name, uid, reported) in self.cloud.review(shared) {
            // Sometimes it takes until the next round.
            if shared.random.one_in(3) {
                continue;
            }
            // The last releases are to run everywhere: at the end nobody keeps what a node has.
            if shared.now < shared.scenario.end && shared.random.one_in(2) {
                self.cloud.adopt(&name, reported, shared);
            } else {
                self.cloud.reassert(&name, reported, shared);
            }
            for machine in self
                .machines
                .iter_mut()
                .filter(|machine| machine.uid == uid)
            {
                machine.ahead = false;
            }
        }
        for device in 0..self.machines.len() {
            self.look_after(device);
        }
    }

    /// A device that was sent away for good is repaired by a person.
    fn look_after(&mut self, device: Device) {
        if self.shared.network.cloud_down || self.machines[device].power == Power::Gone {
            return;
        }
        let uid = self.machines[device].uid;
        let is_copy = self.shared.device_of(uid) != Some(device);
        let copied = self
            .machines
            .iter()
            .any(|other| other.device != device && other.uid == uid && other.power == Power::On);
        match self.machines[device].fenced {
            Some(Fence::Cloned) if is_copy => self.take_away(device),
            // The copy is found because the original is sent away.
            Some(Fence::Cloned) => {
                self.take_copies_away(device);
                self.wipe(device);
            }
            Some(Fence::Revoked) if is_copy => self.take_away(device),
            Some(Fence::Revoked) => {
                let is_revoked = self.cloud.revoked.contains(&uid);
                if !is_revoked || self.shared.random.one_in(8) {
                    self.take_copies_away(device);
                    self.wipe(device);
                }
            }
            Some(Fence::Superseded | Fence::Protocol) | None => {
                // At the end of the story somebody notices two devices with one name at the latest.
                if is_copy && copied && self.shared.now > self.shared.scenario.end {
                    self.check_fenced(device);
                    self.take_away(device);
                }
            }
        }
    }

    /// Two devices that answer to one name cannot both have been content for long.
    fn check_fenced(&mut self, copy: Device) {
        let sessions = |machine: &Machine| machine.welcomes;
        let uid = self.machines[copy].uid;
        let both = self
            .machines
            .iter()
            .filter(|machine| machine.uid == uid)
            .all(|machine| sessions(machine) > WELCOMES_MAX);
        if both {
            let text = "a device and a copy of its disk both keep being welcomed".to_owned();
            self.shared.fail(Some(copy), text);
        }
    }

    fn take_copies_away(&mut self, device: Device) {
        let uid = self.machines[device].uid;
        for other in 0..self.machines.len() {
            if other != device && self.machines[other].uid == uid {
                self.take_away(other);
            }
        }
    }

    fn take_away(&mut self, device: Device) {
        self.shared.note(device, "taken away", 0, 0);
        self.machines[device].touch(&mut self.shared);
        self.machines[device].stop(&mut self.shared);
        self.machines[device].power = Power::Gone;
        self.machines[device].fenced = None;
    }

    /// The device gets a fresh disk and is enrolled again under its name.
    fn wipe(&mut self, device: Device) {
        let shared = &mut self.shared;
        let machine = &mut self.machines[device];
        machine.touch(shared);
        machine.stop(shared);
        shared.books.lineage(machine.disk.outbox.lineage).end = Some(LineageEnd::Wiped);
        let old = machine.uid;
        let new = shared.fresh_uid(device);
        let lineage = shared.fresh();
        machine.wiped(new, lineage);
        shared.note(device, "wiped and enrolled again", lineage, 0);
        self.cloud.revoked.remove(&old);
        self.cloud.enroll_again(old, new, shared);
        let at = shared.now + MINUTE;
        shared.queue.at(at, Event::Boot(device));
    }
}

/// Welcomes after which a copy must have been found out: each of both changes the secret of the other.
const WELCOMES_MAX: u64 = 4;
