//! The agent's end of one worker: slots of shared memory, requests under way, answers.
//!
//! ```text
//! admit ─▶ queue (bounded) ─▶ lease a slot ─▶ write inputs, message ─▶ ring ══▶ worker
//!    ▲                                                                            │
//!    └── read outputs, message ◀── spin, then sleep or wait for a nudge ◀── ring ═┘
//! ```
//!
//! A thread sleeps on the bell itself; a task cannot, so it asks the worker for a nudge on the control socket, which
//! [`Lane::watch_socket`] passes on. Both spin before that, and only while this model's answers take no longer than a
//! system call or two, so an idle or slow model costs nothing. Answers come in the order of the requests.
//!
//! A request that its client gave up still owns its slot until the worker answers it. What the worker says that no request
//! of ours explains ends the worker: it is broken or hostile. It cannot do more harm than that, because nothing but counts
//! and its own answers are read from the shared memory, every wait has a limit, and the socket closes with the process,
//! which wakes whoever waits with [`InferError::WorkerEnded`].

mod lease;
mod pending;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_ipc::{AsyncControlSocket, Board, Received, Slot};
use millwright_proto::ids::ModelVersion;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::protocol::{self, Cause, NUDGE, Placed, Reply};
use super::tensor::InferError;
pub(super) use lease::Lease;
pub(super) use pending::Pending;

/// Most requests of one worker waiting or running. Each waiting one holds its inputs in memory; one
/// camera at 30 frames a second that waits this long is two seconds behind and should skip frames.
pub(super) const REQUESTS_MAX: usize = 64;

/// Longest wait for a slot: a client that waited this long has most likely gone.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);

/// Longest computation that an answer is waited for by spinning: ten times what it costs to sleep and be woken.
const SPIN_WORTHWHILE: Duration = Duration::from_micros(100);

/// What a sleeping worker needs to wake up and begin. If the agent slept before, the worker would be asleep again by the
/// time that the next request comes.
const WAKE_ALLOWANCE: Duration = Duration::from_micros(100);

/// The agent's end of one worker.
#[derive(Debug)]
pub(super) struct Lane {
    model: ModelVersion,
    socket: AsyncControlSocket,
    board: Board,
    /// One permit for each free slot.
    free: Semaphore,
    /// Shared by requests and the task that watches the socket; held for a few instructions only.
    state: Mutex<State>,
    /// Requests made. The worker's count of answers can never be past it.
    made: AtomicU32,
    next_id: AtomicU64,
    /// How long the worker says it computed last, in microseconds: only decides about spinning.
    busy_us: AtomicU32,
    ended: AtomicBool,
    requests: AtomicUsize,
    idle: Notify,
    /// A nudge arrived, or the worker ended.
    nudged: Notify,
    /// For a thread that has to wait for a slot.
    runtime: Handle,
    /// Longest wait for an answer, after which the worker counts as hung and is ended.
    answer_within: Duration,
    /// Whether it was ended for that.
    gave_up: AtomicBool,
}

#[derive(Debug)]
struct State {
    slots: Vec<lease::Kit>,
    /// Requests whose clients gave up, with their numbers.
    abandoned: Vec<(u32, Lease)>,
}

/// Counts one request until it is dropped.
pub(super) struct InFlight<'a>(&'a Lane);

impl Lane {
    /// The agent's end of a worker whose model is open. Call it inside a tokio runtime.
    pub(super) fn new(
        model: ModelVersion,
        socket: AsyncControlSocket,
        board: Board,
        slots: Vec<Slot>,
        answer_within: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            model,
            socket,
            board,
            free: Semaphore::new(slots.len()),
            state: Mutex::new(State {
                abandoned: Vec::with_capacity(slots.len()),
                slots: (0..).zip(slots).map(lease::Kit::new).collect(),
            }),
            made: AtomicU32::new(0),
            next_id: AtomicU64::new(1),
            busy_us: AtomicU32::new(u32::MAX),
            ended: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            idle: Notify::new(),
            nudged: Notify::new(),
            runtime: Handle::current(),
            answer_within,
            gave_up: AtomicBool::new(false),
        })
    }

    /// Counts a request, unless there are too many.
    pub(super) fn admit(&self) -> Result<InFlight<'_>, InferError> {
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

    /// Waits for a slot.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, InferError> {
        match self.free.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => tokio::time::timeout(QUEUE_LIMIT, self.free.acquire())
                .await
                .map_err(|_| self.timeout(QUEUE_LIMIT))?
                .map_err(|_| self.gone())?
                .forget(),
        }
        Ok(Lease::new(self))
    }

    /// As [`Lane::lease`], for a thread that runs no tasks.
    pub(super) fn lease_blocking(self: &Arc<Self>) -> Result<Lease, InferError> {
        match self.free.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(Lease::new(self))
            }
            Err(_) => self.runtime.block_on(self.lease()),
        }
    }

    /// Tells the worker that its next request lies in the leased slot.
    pub(super) fn submit(self: &Arc<Self>, lease: Lease) -> Result<Pending, InferError> {
        let state = self.state();
        if self.has_ended() {
            drop(state);
            return Err(self.gone());
        }
        // Under the lock, so that numbers and rings have the same order.
        let number = self.made.fetch_add(1, Ordering::AcqRel);
        self.board.request(number, lease.number());
        drop(state);
        Ok(Pending::new(number, lease))
    }

    /// Passes nudges on until the worker's end of the socket closes or the worker misbehaves.
    pub(super) async fn watch_socket(self: &Arc<Self>) {
        let mut buffer = protocol::buffer();
        let mut nudges = 0_u32;
        loop {
            match self.socket.receive(&mut buffer).await {
                Ok(Received::Message(length)) if buffer[..length] == *NUDGE => {
                    nudges = nudges.wrapping_add(1)
                }
                Ok(Received::Message(_) | Received::Closed) | Err(_) => break,
            }
            // One for each request at most.
            if self.is_past_requests(nudges) {
                break;
            }
            self.nudged.notify_waiters();
            self.sweep();
        }
        self.ended.store(true, Ordering::SeqCst);
        self.free.close();
        self.shut_down();
        // Whoever sleeps on the bell looks at `ended` after the ring.
        let _ = self
            .board
            .answers
            .ring(self.board.answers.count().wrapping_add(1));
        self.nudged.notify_waiters();
        let abandoned = std::mem::take(&mut self.state().abandoned);
        drop(abandoned);
    }

    /// Ends the worker: it sees its board closed, and `watch_socket` the socket.
    pub(super) fn shut_down(&self) {
        self.board.close();
        self.socket.shut_down();
    }

    /// Whether the worker can answer no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends a worker that was waited for too long.
    fn give_up(&self) -> InferError {
        self.gave_up.store(true, Ordering::Release);
        self.shut_down();
        self.timeout(self.answer_within)
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

    /// Reads the reply in an answered slot; its outputs go into `outputs`. Every number in them is the worker's word.
    pub(super) fn read_reply(
        &self,
        lease: &mut Lease,
        outputs: &mut Vec<Placed>,
    ) -> Result<(), InferError> {
        let Some((busy_us, reply)) = lease.read_reply(outputs) else {
            self.shut_down();
            let message = "the worker answered something else than it was asked".to_owned();
            return Err(self.failure(Cause::Model, message));
        };
        self.busy_us.store(busy_us, Ordering::Relaxed);
        match reply {
            Reply::Done => {
                lease.note_use(outputs);
                Ok(())
            }
            Reply::Failed { cause, message } => Err(self.failure(cause, message)),
        }
    }

    /// Whether request `number` is answered.
    fn is_answered(&self, number: u32) -> Result<bool, InferError> {
        let answered = self.board.answers.count();
        if self.has_ended() {
            return Err(self.gone());
        }
        if self.is_past_requests(answered) {
            self.shut_down();
            return Err(self.gone());
        }
        Ok(is_before(number, answered))
    }

    /// Whether a count of the worker's is more than there were requests.
    fn is_past_requests(&self, count: u32) -> bool {
        is_before(self.made.load(Ordering::Acquire), count)
    }

    /// How long to spin for an answer.
    fn spin(&self) -> Duration {
        let busy = Duration::from_micros(self.busy_us.load(Ordering::Relaxed).into());
        if busy <= SPIN_WORTHWHILE {
            busy * 2 + WAKE_ALLOWANCE
        } else {
            Duration::ZERO
        }
    }

    /// Keeps the slot of a request that nobody waits for any more until it is answered.
    fn abandon(&self, number: u32, lease: Lease) {
        // Takes the nudge that sweeps it away.
        self.board.answers.watch();
        let mut state = self.state();
        if self.has_ended() {
            drop(state);
            return;
        }
        state.abandoned.push((number, lease));
        drop(state);
        self.sweep();
    }

    /// Frees the slots of abandoned requests that are answered by now.
    fn sweep(&self) {
        let answered = self.board.answers.count();
        loop {
            let mut state = self.state();
            let done = state
                .abandoned
                .iter()
                .position(|(number, _)| is_before(*number, answered));
            let Some(done) = done else { return };
            let (_, lease) = state.abandoned.swap_remove(done);
            drop(state);
            self.board.answers.unwatch();
            drop(lease);
        }
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

    pub(super) fn failure(&self, cause: Cause, message: String) -> InferError {
        let model = self.model.clone();
        match cause {
            Cause::Inputs => InferError::Refused { model, message },
            Cause::Model => InferError::Failed { model, message },
        }
    }
}

/// Whether `one` comes before `other` in counts that wrap around.
fn is_before(one: u32, other: u32) -> bool {
    other.wrapping_sub(one).cast_signed() > 0
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
