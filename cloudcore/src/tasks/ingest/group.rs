//! The one writer of sessions: whatever waits when it looks shares a transaction.
//!
//! ```text
//!   hello, batch, ended ──jobs──> [ take all that wait ] ──one transaction──> commit ──> answers
//! ```
//! Each commit is a real fsync, and ten thousand nodes that come back within seconds need more commits
//! than a disk gives. So nobody waits on purpose and nobody commits alone: while one transaction
//! commits, the next group gathers. An answer leaves only after the commit that holds its rows.
//!
//! When a group fails, each of its jobs is tried again alone: a damaged row of one node costs that node
//! its session, and no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{Admission, Hello, Outcome, Report, SessionKey, rows};
use crate::signals::Signals;
use crate::store::{Store, StoreError, Write};

/// Jobs that may wait; above it the session itself waits, and with it what its node sends.
const JOBS_WAITING_MAX: usize = 4_096;

/// Jobs of one transaction. At some 200 µs each the longest one takes 0.1 s, which is what an
/// operator's write may have to wait for.
const JOBS_PER_GROUP_MAX: usize = 512;

/// Reports of one transaction, whatever the number of jobs; some 50 µs each.
const REPORTS_PER_GROUP_MAX: usize = 2_048;

/// Groups with fewer Hellos say more about the disk's fsync than about how many Hellos fit in a second.
const HELLOS_TELLING_MIN: usize = 16;

/// Assumed until measured; a Hello costs six statements.
const HELLOS_PER_SECOND_ASSUMED: u32 = 1_000;

/// What a session asks of the writer.
pub(super) enum Ask {
    Hello {
        hello: Box<Hello>,
        /// Set when nobody wants the session any more.
        given_up: Arc<AtomicBool>,
    },
    Batch {
        session: SessionKey,
        reports: Vec<Report>,
    },
    Ended {
        session: SessionKey,
    },
}

/// What became of it.
pub(super) enum Told {
    Hello(Admission),
    Batch(Outcome),
    Ended,
}

struct Job {
    ask: Ask,
    answer: oneshot::Sender<Result<Told, StoreError>>,
}

/// How many Hellos wait, and how many fit in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Asked and not answered.
    pub(crate) hellos_waiting: usize,
    /// As measured lately.
    pub(crate) hellos_per_second: u32,
}

#[derive(Debug)]
struct Gauge {
    waiting: AtomicUsize,
    per_second: AtomicU32,
}

/// The way to the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Door {
    jobs: mpsc::Sender<Job>,
    gauge: Arc<Gauge>,
}

/// Takes one off the gauge, also when whoever waits gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    /// Asks and waits for the commit.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Told, StoreError> {
        let _waiting = matches!(ask, Ask::Hello { .. }).then(|| {
            self.gauge.waiting.fetch_add(1, Ordering::Relaxed);
            Waiting(&self.gauge.waiting)
        });
        let (answer, told) = oneshot::channel();
        // The writer ends only with the process; what it did not commit was not done.
        let gone = || StoreError::Statement(sqlx::Error::WorkerCrashed);
        let sent = self.jobs.send(Job { ask, answer }).await;
        sent.map_err(|_| gone())?;
        told.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(super) fn load(&self) -> Load {
        Load {
            hellos_waiting: self.gauge.waiting.load(Ordering::Relaxed),
            hellos_per_second: self.gauge.per_second.load(Ordering::Relaxed),
        }
    }
}

/// The writer and the way to it. The writer runs until every door is dropped.
pub(super) fn open(
    store: Store,
    signals: Arc<Signals>,
) -> (Door, impl Future<Output = ()> + Send + use<>) {
    let (jobs, receiver) = mpsc::channel(JOBS_WAITING_MAX);
    let gauge = Arc::new(Gauge {
        waiting: AtomicUsize::new(0),
        per_second: AtomicU32::new(HELLOS_PER_SECOND_ASSUMED),
    });
    let writer = Writer {
        store,
        signals,
        gauge: Arc::clone(&gauge),
    };
    (Door { jobs, gauge }, writer.run(receiver))
}

struct Writer {
    store: Store,
    signals: Arc<Signals>,
    gauge: Arc<Gauge>,
}

impl Writer {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut reports = first.ask.reports();
            let mut group = vec![first];
            while group.len() < JOBS_PER_GROUP_MAX && reports < REPORTS_PER_GROUP_MAX {
                let Ok(job) = jobs.try_recv() else { break };
                reports += job.ask.reports();
                group.push(job);
            }
            self.settle(group).await;
        }
    }

    /// Commits a group, and answers.
    async fn settle(&self, mut group: Vec<Job>) {
        // A node that gave up while its Hello waited has another connection, and this session would end that.
        group.retain(|job| !job.ask.is_given_up());
        if group.is_empty() {
            return;
        }
        let began = Instant::now();
        let asks: Vec<&Ask> = group.iter().map(|job| &job.ask).collect();
        match self.commit(&asks).await {
            Ok(told) => {
                self.measure(&asks, began);
                for (job, told) in group.into_iter().zip(told) {
                    // Whoever asked may be gone; the next session reads what was committed.
                    let _ = job.answer.send(Ok(told));
                }
            }
            Err(fault) => {
                if group.len() > 1 {
                    let jobs = group.len();
                    tracing::warn!(error = %fault, jobs, "a shared transaction failed: each is tried alone");
                }
                for job in group {
                    let alone = self.commit(&[&job.ask]).await;
                    let _ = job
                        .answer
                        .send(alone.map(|mut told| told.pop().unwrap_or(Told::Ended)));
                }
            }
        }
    }

    async fn commit(&self, asks: &[&Ask]) -> Result<Vec<Told>, StoreError> {
        let mut write = self.store.write().await?;
        let now = Timestamp::now();
        let mut told = Vec::with_capacity(asks.len());
        let mut wakes = false;
        for ask in asks {
            let (answer, woke) = answer(&mut write, ask, now).await?;
            told.push(answer);
            wakes |= woke;
        }
        write.commit().await?;
        if wakes {
            self.signals.wake_planner();
        }
        Ok(told)
    }

    /// Learns from a group how many Hellos fit in a second: half the old figure, half the new.
    fn measure(&self, asks: &[&Ask], began: Instant) {
        let hellos = asks.iter().filter(|ask| matches!(ask, Ask::Hello { .. }));
        let hellos = hellos.count();
        if hellos < HELLOS_TELLING_MIN {
            return;
        }
        let micros = began.elapsed().as_micros().max(1);
        let rate = u32::try_from(hellos as u128 * 1_000_000 / micros).unwrap_or(u32::MAX);
        let before = self.gauge.per_second.load(Ordering::Relaxed);
        let now = before / 2 + rate / 2;
        self.gauge.per_second.store(now.max(1), Ordering::Relaxed);
    }
}

impl Ask {
    fn is_given_up(&self) -> bool {
        matches!(self, Self::Hello { given_up, .. } if given_up.load(Ordering::Relaxed))
    }

    fn reports(&self) -> usize {
        match self {
            Self::Hello { .. } | Self::Ended { .. } => 0,
            Self::Batch { reports, .. } => reports.len(),
        }
    }
}

/// Does what is asked, short of the commit; tells whether the planner should look.
async fn answer(write: &mut Write, ask: &Ask, now: Timestamp) -> Result<(Told, bool), StoreError> {
    match ask {
        Ask::Hello { hello, .. } => {
            let admission = rows::hello(write, hello, now).await?;
            let welcomed = matches!(admission, Admission::Welcome { .. });
            Ok((Told::Hello(admission), welcomed))
        }
        Ask::Batch { session, reports } => {
            let (outcome, wakes) = rows::batch(write, session, reports, now).await?;
            Ok((Told::Batch(outcome), wakes))
        }
        Ask::Ended { session } => {
            let was_live = write.end_session(session.uid, session.term, now).await?;
            Ok((Told::Ended, was_live))
        }
    }
}
