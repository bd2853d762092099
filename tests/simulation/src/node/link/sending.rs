//! What a session sends: records as far as there is room, and what became of the desired state.

use edge_core::outbox::Room;

use super::{Sent, State};
use crate::event::{Outgoing, Up, WireId};
use crate::node::{Killed, Machine};
use crate::shared::Shared;

/// As in the real session: what may be under way at once.
const IN_FLIGHT_RECORDS_MAX: usize = 64;
const IN_FLIGHT_BYTES_MAX: u64 = 512 * 1024;

impl Machine {
    /// Sends what the outbox has, as far as there is room.
    pub(in crate::node) fn pump(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        loop {
            let Some(agent) = &self.agent else {
                return Ok(());
            };
            let State::Live {
                wire, in_flight, ..
            } = &agent.link.state
            else {
                return Ok(());
            };
            let wire = *wire;
            let bytes: u64 = in_flight.iter().map(|sent| sent.bytes).sum();
            let room = Room {
                records: IN_FLIGHT_RECORDS_MAX.saturating_sub(in_flight.len()),
                bytes: IN_FLIGHT_BYTES_MAX.saturating_sub(bytes),
            };
            if room.records == 0 || room.bytes == 0 {
                return Ok(());
            }
            let offered = self.offer(room, shared)?;
            if offered.is_empty() {
                return Ok(());
            }
            self.send(wire, offered, shared)?;
            if std::mem::take(&mut self.sends_again) {
                self.forget_sent();
            }
        }
    }

    /// Begins the session's sending again after what is acknowledged, as if everything sent since had been
    /// lost: what the cloud counts meanwhile arrives twice.
    fn forget_sent(&mut self) {
        if let Some(agent) = &mut self.agent
            && let State::Live { in_flight, .. } = &mut agent.link.state
        {
            in_flight.clear();
            agent.outbox.cursor = agent.outbox.ledger.cursor();
        }
    }

    /// Sends in messages of any size, so that a kill or cut leaves any part of them sent.
    fn send(
        &mut self,
        wire: WireId,
        offered: Vec<(Outgoing, u64)>,
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let mut left = offered.as_slice();
        while !left.is_empty() {
            let most = left.len() as u64;
            let length = match shared.random.one_in(4) {
                true => shared.random.between(1, most),
                false => most,
            };
            let (now, later) = left.split_at(usize::try_from(length).unwrap_or(left.len()));
            left = later;
            self.step()?;
            for (outgoing, bytes) in now {
                let bytes = *bytes;
                if let Some(agent) = &mut self.agent
                    && let State::Live { in_flight, .. } = &mut agent.link.state
                {
                    in_flight.push_back(Sent {
                        stream: outgoing.stream,
                        last: outgoing.last,
                        bytes,
                    });
                }
            }
            if let (Some(first), Some(last)) = (now.first(), now.last()) {
                shared.note(self.device, "offers", first.0.first, last.0.last);
            }
            let reports = now.iter().map(|(outgoing, _)| *outgoing).collect();
            shared.send_up(wire, Up::Reports(reports));
        }
        Ok(())
    }

    /// Tells the cloud what became of the desired state, when that changed.
    pub(in crate::node) fn tell(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        let applied = self
            .disk
            .in_force()
            .map(|current| (current.generation, current.digest));
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        let State::Live { wire, told, .. } = &mut agent.link.state else {
            return Ok(());
        };
        let report = agent.models.report(applied);
        if told.as_ref() == Some(&report) {
            return Ok(());
        }
        *told = Some(report.clone());
        let wire = *wire;
        self.step()?;
        shared.send_up(wire, Up::Applied(report));
        Ok(())
    }
}
