//! Joining requests that come together into one run of the model, and splitting its outputs.
//!
//! ```text
//! alone:     request ─▶ turn free ─────────────────────▶ run
//! together:  request ─▶ queue ─▶ turn, gather, [join] ─▶ run ─▶ [split] ─▶ each its own part
//! ```
//!
//! There is one turn: while the model computes, the requests that come meanwhile wait and are joined when it is done. Then
//! the batcher waits a moment longer, at most the manifest's `maxDelayUs`, for the clients of the run that has just ended to
//! come again: clients that ask one thing after the other would else split into two halves that never meet. A request that
//! comes while nothing runs and nothing waits is run at once by whoever asked; nobody else had asked, so there is nobody to
//! wait for.
//!
//! A request is checked before it is queued, and only requests of the same shapes are joined, so that one cannot spoil
//! another. If the joined run fails all the same, each is run by itself once. What a client gave up is not computed.

mod join;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use millwright_package::Batching;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Worker;
use super::requests::{Admission, confidence_of};
use super::tensor::{InferError, InferInput, InferOutput};

/// Requests that may wait here; the worker admits no more of them.
const WAITING_MAX: usize = super::ipc::REQUESTS_MAX;

/// Most bytes of inputs that are joined. Copying them costs more than another run of any model would, from about here.
const JOINED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The agent's end of the batcher of one worker.
#[derive(Debug)]
pub(super) struct Batcher {
    rows_max: usize,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Whoever holds it runs the model.
    turn: Semaphore,
    /// False once the model's outputs could not be split: its first dimension is something else than rows.
    joins: AtomicBool,
    saved: AtomicU64,
}

/// A checked request.
#[derive(Debug)]
struct Job {
    input: InferInput,
    rows: usize,
    asked: Instant,
    done: oneshot::Sender<Result<InferOutput, InferError>>,
}

impl Batcher {
    /// Starts the task; it ends with the worker.
    pub(super) fn start(worker: Weak<Worker>, batching: Batching) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            turn: Semaphore::new(1),
            joins: AtomicBool::new(true),
            saved: AtomicU64::new(0),
        });
        let rows_max = batching.max_rows.get() as usize;
        let queue = Queue {
            rows_max,
            delay_max: Duration::from_micros(batching.max_delay_us.into()),
            arriving: waiting,
            waiting: VecDeque::new(),
            together: 1,
        };
        tokio::spawn(queue.serve(worker, Arc::clone(&shared)));
        Self {
            rows_max,
            jobs,
            shared,
        }
    }

    /// The rows of a request that may be joined with others.
    pub(super) fn rows(&self, input: &InferInput) -> Option<usize> {
        let joins = self.shared.joins.load(Ordering::Relaxed) && input.sequence.is_none();
        let bytes: usize = input.tensors.iter().map(|tensor| tensor.data.len()).sum();
        join::rows(input).filter(|&rows| joins && rows < self.rows_max && bytes < JOINED_BYTES_MAX)
    }

    pub(super) fn runs_saved(&self) -> u64 {
        self.shared.saved.load(Ordering::Relaxed)
    }

    /// Computes a request that was checked and admitted.
    pub(super) async fn infer(
        &self,
        worker: &Worker,
        input: &InferInput,
        rows: usize,
    ) -> Result<InferOutput, InferError> {
        // The turn is not free while somebody waits for it: it goes from hand to hand.
        if let Ok(_turn) = self.shared.turn.try_acquire() {
            return worker.run(input, Admission::Given).await;
        }
        let (done, answer) = oneshot::channel();
        let job = Job {
            input: input.clone(),
            rows,
            asked: Instant::now(),
            done,
        };
        self.jobs.try_send(job).map_err(|_| InferError::Busy {
            model: worker.model().model.clone(),
            waiting: WAITING_MAX,
        })?;
        let gone = || InferError::WorkerEnded(worker.model().clone());
        answer.await.map_err(|_| gone())?
    }
}

/// What waits, in the order it came.
struct Queue {
    rows_max: usize,
    delay_max: Duration,
    arriving: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    /// Requests that were here when the last run ended, its own among them: as many may be expected again.
    together: usize,
}

impl Queue {
    async fn serve(mut self, worker: Weak<Worker>, shared: Arc<Shared>) {
        loop {
            if self.waiting.is_empty() {
                match self.arriving.recv().await {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                }
            }
            let Ok(_turn) = shared.turn.acquire().await else {
                return;
            };
            let batch = self.gather().await;
            let Some(worker) = worker.upgrade() else {
                return;
            };
            let size = batch.len();
            compute(&worker, &shared, batch).await;
            self.drain();
            self.together = size + self.waiting.len();
        }
    }

    /// The requests of the next run.
    async fn gather(&mut self) -> Vec<Job> {
        let until = Instant::now() + self.delay_max;
        self.drain();
        while self.waiting.len() < self.together && self.rows_waiting() < self.rows_max {
            match timeout_at(until, self.arriving.recv()).await {
                Ok(Some(job)) => self.waiting.push_back(job),
                Ok(None) | Err(_) => break,
            }
        }
        self.take()
    }

    fn drain(&mut self) {
        while let Ok(job) = self.arriving.try_recv() {
            self.waiting.push_back(job);
        }
    }

    fn rows_waiting(&self) -> usize {
        self.waiting.iter().map(|job| job.rows).sum()
    }

    /// Takes the oldest request and those like it, as many as fit.
    fn take(&mut self) -> Vec<Job> {
        let mut batch: Vec<Job> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        for job in std::mem::take(&mut self.waiting) {
            if job.done.is_closed() {
                continue;
            }
            let size: usize = job
                .input
                .tensors
                .iter()
                .map(|tensor| tensor.data.len())
                .sum();
            let fits = rows + job.rows <= self.rows_max && bytes + size <= JOINED_BYTES_MAX;
            let alike = |first: &Job| join::alike(&first.input, &job.input);
            if batch.first().is_none_or(|first| fits && alike(first)) {
                rows += job.rows;
                bytes += size;
                batch.push(job);
            } else {
                self.waiting.push_back(job);
            }
        }
        batch
    }
}

/// Runs a batch and answers each of its requests.
async fn compute(worker: &Worker, shared: &Shared, batch: Vec<Job>) {
    if batch.len() > 1 {
        match joined(worker, &batch).await {
            Ok(Some(parts)) => {
                let saved = batch.len() as u64 - 1;
                shared.saved.fetch_add(saved, Ordering::Relaxed);
                for (job, part) in batch.into_iter().zip(parts) {
                    job.answer(Ok(part));
                }
                return;
            }
            Ok(None) => {
                shared.joins.store(false, Ordering::Relaxed);
                tracing::warn!(
                    model = %worker.model(),
                    "requests of this model are joined no more: its outputs do not have a row for each row of the inputs; \
                     remove `batching` from its manifest"
                );
            }
            // Whoever is at fault, the others are answered.
            Err(InferError::Refused { .. } | InferError::Failed { .. }) => {}
            Err(error) => {
                batch
                    .into_iter()
                    .for_each(|job| job.answer(Err(error.clone())));
                return;
            }
        }
    }
    for job in batch {
        if !job.done.is_closed() {
            let began = Instant::now();
            let mut answer = worker.run(&job.input, Admission::Given).await;
            if let Ok(output) = &mut answer {
                output.timing.queue += began - job.asked;
            }
            job.answer(answer);
        }
    }
}

/// One run for all; `None` if its outputs cannot be split.
async fn joined(worker: &Worker, batch: &[Job]) -> Result<Option<Vec<InferOutput>>, InferError> {
    let inputs: Vec<&InferInput> = batch.iter().map(|job| &job.input).collect();
    let rows: Vec<usize> = batch.iter().map(|job| job.rows).collect();
    let mut input = join::join(&inputs);
    let confidence = worker.spec().manifest.confidence.as_ref();
    let asked_for = join::also_return(
        &mut input.outputs,
        confidence.map(|rule| rule.output.as_str()),
    );
    let began = Instant::now();
    let output = worker.run(&input, Admission::Given).await?;
    let Some(mut parts) = join::split(output, &rows) else {
        return Ok(None);
    };
    for (part, job) in parts.iter_mut().zip(batch) {
        part.timing.queue += began - job.asked;
        part.confidence = confidence.and_then(|rule| {
            let tensor = part.tensor(&rule.output)?;
            confidence_of(rule.reduce, tensor.as_ref())
        });
        if let Some(asked_for) = asked_for {
            part.tensors.truncate(asked_for);
        }
    }
    Ok(Some(parts))
}

impl Job {
    fn answer(self, answer: Result<InferOutput, InferError>) {
        // An error means that its client is gone.
        let _ = self.done.send(answer);
    }
}

#[cfg(test)]
mod tests;
