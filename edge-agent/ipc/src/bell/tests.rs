//! Rings between threads over real shared memory, and every interleaving of a ring and a wait in a model.

use loom::sync::atomic::AtomicU32 as LoomWord;
use loom::sync::{Condvar, Mutex};

use super::*;
use crate::board::Board;

const LONG: Duration = Duration::from_secs(20);

/// Both ends of one board.
fn boards() -> (Board, Board) {
    let here =
        Region::create(crate::board::region_bytes(1, crate::memory::SLOT_ALIGNMENT)).unwrap();
    let there = Region::open(here.file().try_clone_to_owned().unwrap()).unwrap();
    (
        here.into_parts(1).unwrap().0,
        there.into_parts(1).unwrap().0,
    )
}

#[test]
fn a_sleeper_is_woken_by_the_ring() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        let (agent, worker) = boards();
        let waiting = std::thread::spawn(move || worker.requests.wait(0, spin, LONG));
        // Whether it sleeps already or not, it must see the ring.
        assert!(!agent.requests.ring(1));
        assert_eq!(waiting.join().unwrap(), 1);
    }
}

#[test]
fn many_rings_each_way_lose_none() {
    let (agent, worker) = boards();
    const ROUNDS: u32 = 20_000;
    let answering = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            while worker.requests.wait(round, Duration::ZERO, LONG) == round {}
            let _ = worker.answers.ring(round + 1);
        }
    });
    for round in 0..ROUNDS {
        let _ = agent.requests.ring(round + 1);
        while agent.answers.wait(round, Duration::ZERO, LONG) == round {}
    }
    answering.join().unwrap();
}

#[test]
fn a_wait_ends_at_its_limit_and_a_watcher_is_told_of() {
    let (agent, worker) = boards();
    assert_eq!(
        agent
            .answers
            .wait(0, Duration::ZERO, Duration::from_millis(1)),
        0
    );
    agent.answers.watch();
    assert!(worker.answers.ring(1));
    agent.answers.unwatch();
    assert!(!worker.answers.ring(2));
}

/// The words with a futex as the kernel has it: it compares and queues under one lock.
struct Model {
    count: LoomWord,
    sleepers: LoomWord,
    futex: Mutex<()>,
    woken: Condvar,
}

impl Words for Model {
    fn load(&self) -> u32 {
        self.count.load(Acquire)
    }

    fn store(&self, count: u32) {
        self.count.store(count, Release);
    }

    fn add_sleeper(&self) {
        self.sleepers.fetch_add(1, Relaxed);
    }

    fn remove_sleeper(&self) {
        self.sleepers.fetch_sub(1, Relaxed);
    }

    fn has_sleepers(&self) -> bool {
        self.sleepers.load(Relaxed) != 0
    }

    fn fence(&self) {
        loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    fn sleep(&self, seen: u32, _: Duration) {
        let queue = self.futex.lock().unwrap();
        if self.count.load(Relaxed) == seen {
            // Without a limit: a lost ring is a deadlock, which loom reports.
            drop(self.woken.wait(queue).unwrap());
        }
    }

    fn wake(&self) {
        let _queue = self.futex.lock().unwrap();
        self.woken.notify_all();
    }
}

#[test]
fn no_interleaving_of_two_waiters_and_a_ring_loses_it() {
    let mut models = loom::model::Builder::new();
    // A lost ring needs two switches at the wrong places; with three bounded, all of them are tried in a second.
    models.preemption_bound = Some(3);
    models.check(|| {
        let model = loom::sync::Arc::new(Model {
            count: LoomWord::new(0),
            sleepers: LoomWord::new(0),
            futex: Mutex::new(()),
            woken: Condvar::new(),
        });
        let wait = |model: loom::sync::Arc<Model>| {
            loom::thread::spawn(move || {
                while model.load() == 0 {
                    sleep_once(&*model, 0, LONG);
                }
            })
        };
        let waiters = [wait(model.clone()), wait(model.clone())];
        ring(&*model, 1);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}
