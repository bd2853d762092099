//! The desired state in force: judged by edge-core, kept in two copies.

use edge_core::desired::{Offer, Verdict, judge};
use fleet_core::desired::Content;
use millwright_proto::Digest;
use millwright_proto::ids::Generation;

use super::{Disk, Killed, Machine};
use crate::event::Document;
use crate::seam::Bug;
use crate::shared::Shared;

/// A desired state in force, as one copy of it.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    /// Its number.
    pub generation: Generation,
    /// Of its bytes.
    pub digest: Digest,
    /// What it says.
    pub content: Content,
}

impl Disk {
    /// The better of the two copies.
    #[must_use]
    pub(crate) fn in_force(&self) -> Option<&InForce> {
        let copies = self.desired.iter().flatten();
        copies.max_by_key(|copy| copy.generation)
    }

    /// After a kill between the copies: the better one replaces the other.
    pub(super) fn repair_desired(&mut self) {
        let best = self.in_force().cloned();
        self.desired = [best.clone(), best];
    }
}

impl Machine {
    /// Takes over a received desired state, if it may take the place of the one in force.
    pub(super) fn offered(
        &mut self,
        document: &Document,
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let in_force = self
            .disk
            .in_force()
            .map(|current| (current.generation, current.digest));
        let offer = Offer {
            generation: document.generation,
            digest: document.digest,
            bytes: &document.bytes,
        };
        let verdict = match self.has(shared, Bug::GenerationUnchecked) {
            true => Verdict::Adopt,
            false => judge(in_force, &offer),
        };
        let number = document.generation.get();
        match verdict {
            Verdict::Same => return Ok(()),
            Verdict::Refuse(_) => {
                shared.note(self.device, "desired state refused", number, 0);
                return Ok(());
            }
            Verdict::Adopt => {}
        }
        self.check_kept(document, shared);
        let adopted = InForce {
            generation: document.generation,
            digest: document.digest,
            content: document.content.clone(),
        };
        self.check_adopted(&adopted, shared);
        for copy in 0..self.disk.desired.len() {
            self.step()?;
            self.disk.desired[copy] = Some(adopted.clone());
        }
        self.step()?;
        shared.note(self.device, "desired state adopted", number, 0);
        let device = self.device;
        if let Some(agent) = &mut self.agent {
            agent.models.adopt(&adopted, shared, device);
        }
        self.reconcile(shared)
    }

    /// What an operator had the cloud take over from this node is what it goes on with.
    fn check_kept(&self, document: &Document, shared: &mut Shared) {
        let Some(current) = self.disk.in_force() else {
            return;
        };
        let taken_over = (self.uid, current.generation);
        let is_it = document.generation == current.generation.next();
        if !is_it || !shared.books.adopted.contains(&taken_over) {
            return;
        }
        let versions = |content: &Content| -> Vec<_> {
            let slots = content.slots.iter();
            slots
                .map(|(model, slot)| (model.clone(), slot.version.clone()))
                .collect()
        };
        let (had, told) = (versions(&current.content), versions(&document.content));
        if had != told {
            let text = format!("was adopted with {had:?} and is told {told:?}");
            shared.fail(Some(self.device), text);
        }
    }

    /// No generation goes backwards on a device, and a restored cloud is not followed before an
    /// operator decided.
    fn check_adopted(&mut self, adopted: &InForce, shared: &mut Shared) {
        let number = adopted.generation.get();
        if number < self.highest {
            let text = format!("generation {number} after {}", self.highest);
            shared.fail(Some(self.device), text);
        }
        self.highest = self.highest.max(number);
        if self.ahead {
            let text = format!(
                "generation {number} of a restored cloud is followed although no operator decided so"
            );
            shared.fail(Some(self.device), text);
        }
    }
}
