//! The worker's turn: wait for the bell, read the request, compute, leave the reply, ring back.
//!
//! One thread. Between requests it spins for a moment when requests come one after another and are short, else it sleeps on
//! the bell and costs nothing. The agent closes the board to end it; if the agent itself is gone, the kernel ends it.

use std::time::{Duration, Instant};

use edge_ipc::{Board, ControlSocket, Slot};

use super::protocol::{LENGTH_BYTES, MESSAGE_AREA, NUDGE, Placed, Run, encode_done, encode_failed};
use super::runtime::Model;

/// How long to spin for the next request.
const SPIN: Duration = Duration::from_micros(100);

/// Requests that are further apart are not waited for by spinning: it would mostly be in vain. Three times [`SPIN`], so
/// that a stream which begins with both sides asleep comes to spin.
const GAP_SPUN_MAX: Duration = Duration::from_micros(300);

/// Computations that take longer gain nothing from spinning: waking up is a few percent of them.
const BUSY_SPUN_MAX: Duration = Duration::from_millis(1);

/// A sleep has to have some limit.
const SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// What serves one model.
pub(super) struct Server {
    socket: ControlSocket,
    board: Board,
    slots: Vec<Slot>,
    work: Work,
}

/// The model, and buffers that are used again from request to request.
#[derive(Debug)]
pub(super) struct Work {
    model: Model,
    run: Run,
    outputs: Vec<Placed>,
    message: Vec<u8>,
}

impl Server {
    pub(super) fn new(socket: ControlSocket, board: Board, slots: Vec<Slot>, model: Model) -> Self {
        Self {
            socket,
            board,
            slots,
            work: Work::new(model),
        }
    }

    /// Answers requests until the board is closed.
    pub(super) fn serve(mut self) -> anyhow::Result<()> {
        let mut served = 0_u32;
        let mut spin = Duration::ZERO;
        let mut free_since = Instant::now();
        loop {
            let made = self.board.requests.count();
            if self.board.is_closed() {
                return Ok(());
            }
            if made == served {
                let _ = self.board.requests.wait(served, spin, SLEEP);
                spin = Duration::ZERO;
                continue;
            }
            let began = Instant::now();
            self.answer(served)?;
            served = served.wrapping_add(1);
            if self.board.answers.ring(served) {
                self.socket.send(NUDGE)?;
            }
            let gap = began.saturating_duration_since(free_since);
            free_since = Instant::now();
            let short = gap <= GAP_SPUN_MAX && free_since - began <= BUSY_SPUN_MAX;
            spin = if short { SPIN } else { Duration::ZERO };
        }
    }

    fn answer(&mut self, number: u32) -> anyhow::Result<()> {
        let slot = self.board.slot_of(number);
        let slot = usize::try_from(slot)
            .ok()
            .and_then(|index| self.slots.get_mut(index))
            .ok_or_else(|| anyhow::anyhow!("slot {slot} does not exist"))?;
        self.work.answer(slot)
    }
}

impl Work {
    pub(super) fn new(model: Model) -> Self {
        Self {
            model,
            run: Run::default(),
            outputs: Vec::new(),
            message: Vec::new(),
        }
    }

    /// Computes the request in `slot` and leaves the reply there.
    pub(super) fn answer(&mut self, slot: &mut Slot) -> anyhow::Result<()> {
        let began = Instant::now();
        self.read(slot)?;
        let computed = self.model.run(&self.run, slot, &mut self.outputs);
        let busy_us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
        match computed {
            Ok(()) => encode_done(self.run.id, busy_us, &self.outputs, &mut self.message)?,
            Err(failure) => {
                encode_failed(
                    self.run.id,
                    failure.cause,
                    failure.message,
                    &mut self.message,
                )?;
            }
        }
        slot.write(0, &self.message)?;
        Ok(())
    }

    fn read(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let mut length = [0; LENGTH_BYTES];
        slot.read(0, &mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        anyhow::ensure!(
            length <= MESSAGE_AREA - LENGTH_BYTES,
            "a message of {length} bytes"
        );
        self.message.clear();
        slot.append_to(LENGTH_BYTES as u64, length as u64, &mut self.message)?;
        self.run.decode(&self.message)?;
        Ok(())
    }
}
