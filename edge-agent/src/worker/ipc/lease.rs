//! A slot in use by one request: its tensors, its message, and how much of it was written.

use std::sync::Arc;

use edge_ipc::Slot;

use super::Lane;
use crate::worker::protocol::{
    LENGTH_BYTES, MESSAGE_AREA, Placed, ProtocolError, Reply, Run, SLOT_BYTES_KEPT,
};

/// A slot and what goes with it.
#[derive(Debug)]
pub(super) struct Kit {
    number: u32,
    slot: Slot,
    /// For a message on its way in or out, used again.
    message: Vec<u8>,
}

impl Kit {
    pub(super) fn new((number, slot): (u32, Slot)) -> Self {
        Self {
            number,
            slot,
            message: Vec::new(),
        }
    }
}

/// A slot in use by one request; goes back to its lane when dropped.
#[derive(Debug)]
pub(in crate::worker) struct Lease {
    lane: Arc<Lane>,
    kit: Option<Kit>,
    id: u64,
    used_bytes: u64,
}

impl Lease {
    /// Call it with a permit of the lane's, which the lease gives back.
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        let kit = lane.state().slots.pop();
        debug_assert!(kit.is_some(), "a permit stands for a free slot");
        Self {
            lane: Arc::clone(lane),
            kit,
            id: 0,
            used_bytes: 0,
        }
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(super) fn number(&self) -> u32 {
        self.kit.as_ref().map_or(u32::MAX, |kit| kit.number)
    }

    /// Copies the bytes of an input to its place.
    pub(in crate::worker) fn write(&mut self, placed: &Placed, data: &[u8]) {
        if let Some(kit) = &mut self.kit {
            kit.slot
                .write(MESSAGE_AREA as u64 + placed.offset, data)
                .expect("the plan fits the slot");
        }
        self.note_use(std::slice::from_ref(placed));
    }

    /// Writes the message of the request, numbered anew.
    pub(in crate::worker) fn write_run(&mut self, run: &mut Run) -> Result<(), ProtocolError> {
        self.id = self
            .lane
            .next_id
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        run.id = self.id;
        if let Some(kit) = &mut self.kit {
            run.encode(&mut kit.message)?;
            kit.slot
                .write(0, &kit.message)
                .expect("an encoded message fits its area");
        }
        Ok(())
    }

    /// The reply to this request and how long it was computed, in microseconds; `None` when there is anything else.
    pub(super) fn read_reply(&mut self, outputs: &mut Vec<Placed>) -> Option<(u32, Reply)> {
        let kit = self.kit.as_mut()?;
        let mut length = [0; LENGTH_BYTES];
        kit.slot.read(0, &mut length).ok()?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MESSAGE_AREA - LENGTH_BYTES {
            return None;
        }
        kit.message.clear();
        kit.slot
            .append_to(LENGTH_BYTES as u64, length as u64, &mut kit.message)
            .ok()?;
        let (id, busy_us, reply) = Reply::decode(&kit.message, outputs).ok()?;
        (id == self.id).then_some((busy_us, reply))
    }

    pub(super) fn note_use(&mut self, tensors: &[Placed]) {
        for tensor in tensors {
            let end = tensor.offset.saturating_add(tensor.length);
            self.used_bytes = self.used_bytes.max(end);
        }
    }

    /// Appends the bytes of a tensor to `into`; `false` if they are not inside the slot.
    pub(in crate::worker) fn append_to(&self, placed: &Placed, into: &mut Vec<u8>) -> bool {
        let Some(offset) = placed.offset.checked_add(MESSAGE_AREA as u64) else {
            return false;
        };
        self.kit
            .as_ref()
            .is_some_and(|kit| kit.slot.append_to(offset, placed.length, into).is_ok())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut kit) = self.kit.take() {
            if self.used_bytes > SLOT_BYTES_KEPT as u64 {
                // If it fails, the memory stays in use until the worker ends.
                let _ = kit.slot.trim(MESSAGE_AREA + SLOT_BYTES_KEPT);
            }
            self.lane.state().slots.push(kit);
            self.lane.free.add_permits(1);
        }
    }
}
