//! The agent's end of one worker: slots of shared memory, requests in flight, answers.
//!
//! ```text
//! exchange ─▶ queue (bounded) ─▶ slot ─▶ write inputs ─▶ Run ══▶ worker
//!    ▲                                                             │
//!    └── read outputs ◀── waiting request ◀── receive_answers ◀════┘
//! ```
//!
//! A request that its client gave up still owns its slot until the worker answers it. Whatever the
//! worker says that no request of ours explains ends the worker: it is broken or hostile. When the
//! socket closes, every waiting request is told [`InferError::WorkerEnded`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edge_ipc::{AsyncControlSocket, Received, Slot};
use millwright_proto::ids::ModelVersion;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::protocol::{self, Answer, Cause, Placed, Request, Run, SLOT_BYTES_KEPT};
use super::signature::Plan;
use super::tensor::InferError;

/// Most requests of one worker waiting or running. Each waiting one holds its inputs in memory; one
/// camera at 30 frames a second that waits this long is two seconds behind and should skip frames.
const REQUESTS_MAX: usize = 64;

/// Longest wait for a slot: a client that waited this long has most likely gone.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);

/// The agent's end of one worker.
#[derive(Debug)]
pub(super) struct Lane {
    model: ModelVersion,
    socket: AsyncControlSocket,
    /// One permit for each free slot.
    free: Arc<Semaphore>,
    /// Shared by requests and the task that receives answers; held for a few instructions only.
    state: Mutex<State>,
    next_id: AtomicU64,
    requests: AtomicUsize,
    idle: Notify,
    /// Longest wait for an answer, after which the worker counts as hung and is ended.
    answer_within: Duration,
    /// Whether it was ended for that.
    gave_up: AtomicBool,
}

#[derive(Debug)]
struct State {
    slots: Vec<(u32, Slot)>,
    waiting: BTreeMap<u64, Waiting>,
    ended: bool,
}

#[derive(Debug)]
struct Waiting {
    lease: Lease,
    reply: oneshot::Sender<Reply>,
}

type Reply = (Lease, Result<Vec<Placed>, (Cause, String)>);

/// A slot in use by one request; goes back to its lane when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    lane: Arc<Lane>,
    slot: Option<(u32, Slot)>,
    used_bytes: u64,
    _permit: OwnedSemaphorePermit,
}

/// Counts one request until it is dropped.
struct InFlight<'a>(&'a Lane);

impl Lane {
    /// The agent's end of a worker whose model is open.
    pub(super) fn new(
        model: ModelVersion,
        socket: AsyncControlSocket,
        slots: Vec<Slot>,
        answer_within: Duration,
    ) -> Arc<Self> {
        let slots: Vec<_> = (0..).zip(slots).collect();
        Arc::new(Self {
            model,
            socket,
            free: Arc::new(Semaphore::new(slots.len())),
            state: Mutex::new(State {
                slots,
                waiting: BTreeMap::new(),
                ended: false,
            }),
            next_id: AtomicU64::new(1),
            requests: AtomicUsize::new(0),
            idle: Notify::new(),
            answer_within,
            gave_up: AtomicBool::new(false),
        })
    }

    /// Sends one request and waits for its answer. The outputs lie in the returned lease's slot, in the
    /// order of `outputs` (indices of the session); every number in their places is the worker's word. Last,
    /// how long the request waited for its slot.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        plan: &Plan<'_>,
        outputs: Vec<u32>,
    ) -> Result<(Lease, Vec<Placed>, Duration), InferError> {
        let _in_flight = self.admit()?;
        let called = Instant::now();
        let mut lease = self.lease().await?;
        let queue = called.elapsed();
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for (placed, data) in &plan.inputs {
            lease.write(placed, data);
            inputs.push(placed.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.send(lease, reply, inputs, outputs)?;
        let Ok(answer) = tokio::time::timeout(self.answer_within, answer).await else {
            self.gave_up.store(true, Ordering::Release);
            self.shut_down();
            return Err(self.timeout(self.answer_within));
        };
        let (mut lease, result) = answer.map_err(|_| self.gone())?;
        match result {
            Ok(outputs) => {
                lease.note_use(&outputs);
                Ok((lease, outputs, queue))
            }
            Err((cause, message)) => Err(self.failure(cause, message)),
        }
    }

    /// Receives answers until the worker's end of the socket closes or the worker misbehaves.
    pub(super) async fn receive_answers(self: &Arc<Self>) {
        let mut buffer = protocol::buffer();
        loop {
            match self.socket.receive(&mut buffer).await {
                Ok(Received::Message(length)) if self.deliver(&buffer[..length]) => {}
                Ok(Received::Message(_) | Received::Closed) | Err(_) => break,
            }
        }
        let waiting = {
            let mut state = self.state();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        self.free.close();
        self.shut_down();
        drop(waiting);
    }

    /// Ends the worker: it sees its socket closed, and so does `receive_answers`.
    pub(super) fn shut_down(&self) {
        self.socket.shut_down();
    }

    /// Whether the worker can answer no more.
    pub(super) fn has_ended(&self) -> bool {
        self.free.is_closed()
    }

    /// How long an answer was waited for, if the worker was ended because none came.
    pub(super) fn gave_up_after(&self) -> Option<Duration> {
        let gave_up = self.gave_up.load(Ordering::Acquire);
        gave_up.then_some(self.answer_within)
    }

    /// Requests waiting or running.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// Waits until no request is waiting or running.
    pub(super) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.requests() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Hands one answer to its request. `false`: no answer of a sane worker.
    fn deliver(&self, message: &[u8]) -> bool {
        let Ok(answer) = protocol::decode(message) else {
            return false;
        };
        let (id, result) = match answer {
            Answer::Done { id, outputs } => (id, Ok(outputs)),
            Answer::Failed { id, cause, message } => {
                (id, Err((cause, protocol::shortened(message))))
            }
            Answer::Confined(_) | Answer::Loaded(..) | Answer::LoadFailed(_) => return false,
        };
        let Some(waiting) = self.state().waiting.remove(&id) else {
            return false;
        };
        // A client that gave up drops its slot here.
        let _ = waiting.reply.send((waiting.lease, result));
        true
    }

    fn admit(&self) -> Result<InFlight<'_>, InferError> {
        let waiting = self.requests.fetch_add(1, Ordering::AcqRel);
        let in_flight = InFlight(self);
        if waiting >= REQUESTS_MAX {
            return Err(InferError::Busy {
                model: self.model.model.clone(),
                waiting,
            });
        }
        Ok(in_flight)
    }

    async fn lease(self: &Arc<Self>) -> Result<Lease, InferError> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(QUEUE_LIMIT, Arc::clone(&self.free).acquire_owned())
                .await
                .map_err(|_| self.timeout(QUEUE_LIMIT))?
                .map_err(|_| self.gone())?,
        };
        let slot = self.state().slots.pop();
        debug_assert!(slot.is_some(), "a permit stands for a free slot");
        Ok(Lease {
            lane: Arc::clone(self),
            slot,
            used_bytes: 0,
            _permit: permit,
        })
    }

    /// Puts a request among the waiting ones and tells the worker.
    fn send(
        &self,
        lease: Lease,
        reply: oneshot::Sender<Reply>,
        inputs: Vec<Placed>,
        outputs: Vec<u32>,
    ) -> Result<(), InferError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let slot = lease.slot.as_ref().map_or(0, |(index, _)| *index);
        let run = Run {
            id,
            slot,
            inputs,
            outputs,
        };
        let message = protocol::encode(&Request::Run(run))
            .map_err(|error| self.failure(Cause::Model, error.to_string()))?;
        let mut state = self.state();
        if state.ended {
            drop(state);
            return Err(self.gone());
        }
        state.waiting.insert(id, Waiting { lease, reply });
        drop(state);
        // The socket holds far more than one message for each slot, so a full one means a worker that
        // does not read. Either way it is at its end, which `receive_answers` tells every request.
        if self.socket.send(&message).is_err() {
            self.shut_down();
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> InferError {
        InferError::WorkerEnded(self.model.clone())
    }

    fn timeout(&self, limit: Duration) -> InferError {
        InferError::Timeout {
            model: self.model.clone(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn failure(&self, cause: Cause, message: String) -> InferError {
        let model = self.model.clone();
        match cause {
            Cause::Inputs => InferError::Refused { model, message },
            Cause::Model => InferError::Failed { model, message },
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Lease {
    fn write(&mut self, placed: &Placed, data: &[u8]) {
        if let Some((_, slot)) = &mut self.slot {
            slot.write(placed.offset, data)
                .expect("the plan fits the slot");
        }
        self.note_use(std::slice::from_ref(placed));
    }

    fn note_use(&mut self, tensors: &[Placed]) {
        for tensor in tensors {
            self.used_bytes = self
                .used_bytes
                .max(tensor.offset.saturating_add(tensor.length));
        }
    }

    /// Appends the bytes of a tensor to `into`; `false` if they are not inside the slot.
    pub(super) fn append_to(&self, placed: &Placed, into: &mut Vec<u8>) -> bool {
        self.slot
            .as_ref()
            .is_some_and(|(_, slot)| slot.append_to(placed.offset, placed.length, into).is_ok())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((index, mut slot)) = self.slot.take() {
            if self.used_bytes > SLOT_BYTES_KEPT as u64 {
                // If it fails, the memory stays in use until the worker ends.
                let _ = slot.trim(SLOT_BYTES_KEPT);
            }
            self.lane.state().slots.push((index, slot));
        }
    }
}
