//! A bell: one process counts up, the other notices, by spinning for a moment and then by sleeping.
//!
//! ```text
//! ringer: count = n ─ fence ─ anybody asleep? ──▶ futex wake
//! waiter: spin on count ─ "I sleep" ─ fence ─ count still the old one? ──▶ futex wait
//! ```
//! The two fences make sure that either the ringer sees the sleeper or the sleeper sees the new count, so no ring is
//! lost; a `loom` test goes through every interleaving. A task, which may not sleep, asks with [`Bell::watch`] to be told
//! by a message on the control socket instead: [`Bell::ring`] says whether anybody wants that.
//!
//! The words lie in shared memory and are the other process's word: a count may be any number, and the marks of sleepers
//! only say whether a system call is worth its time. Whoever waits has a deadline, so that a process that writes nonsense
//! here can be late, and nothing else.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex;

use crate::memory::Region;

/// Rounds of spinning before the processor is offered to others and the clock is looked at: about a microsecond, which is
/// as long as the two take.
const SPINS_PER_LOOK: u32 = 32;

/// One end of a bell. Both processes hold one over the same three words.
#[derive(Debug)]
pub struct Bell {
    region: Arc<Region>,
    /// Byte offset of the words, which are on one cache line of their own.
    at: usize,
}

/// The words of a bell and how to sleep on the first: shared memory and a futex, or a model of them.
trait Words {
    fn load(&self) -> u32;
    fn store(&self, count: u32);
    fn add_sleeper(&self);
    fn remove_sleeper(&self);
    fn has_sleepers(&self) -> bool;
    fn fence(&self);
    /// Sleeps unless the count is not `seen` any more.
    fn sleep(&self, seen: u32, limit: Duration);
    fn wake(&self);
}

fn ring(words: &impl Words, count: u32) {
    words.store(count);
    words.fence();
    if words.has_sleepers() {
        words.wake();
    }
}

fn sleep_once(words: &impl Words, seen: u32, limit: Duration) {
    words.add_sleeper();
    words.fence();
    if words.load() == seen {
        words.sleep(seen, limit);
    }
    words.remove_sleeper();
}

impl Bell {
    pub(crate) fn new(region: Arc<Region>, at: usize) -> Self {
        Self { region, at }
    }

    /// The count as it is now.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.load()
    }

    /// Sets the count and wakes whoever sleeps. `true`: somebody also wants a message on the control socket.
    #[must_use = "a task that watches the bell sleeps on until it gets its message"]
    pub fn ring(&self, count: u32) -> bool {
        ring(self, count);
        self.word(2).load(Relaxed) != 0
    }

    /// Waits until the count is not `seen`, spinning for `spin` and then sleeping until `limit` has passed in all.
    /// Returns the count, which may be `seen` still: after the limit, or when the other process plays tricks.
    #[must_use]
    pub fn wait(&self, seen: u32, spin: Duration, limit: Duration) -> u32 {
        if !spin.is_zero() && self.spin(seen, spin) {
            return self.load();
        }
        sleep_once(self, seen, limit);
        self.load()
    }

    /// Spins until the count is not `seen`, for at most `spin`; `true` when it changed. Between rounds it offers its
    /// processor to others: the one that is to ring may have been woken on this very processor, and would wait there until
    /// the spinning is over. On a machine with one processor it does not spin at all.
    #[must_use]
    pub fn spin(&self, seen: u32, spin: Duration) -> bool {
        if self.load() != seen {
            return true;
        }
        if spin.is_zero() || !spinning_helps() {
            return false;
        }
        let began = Instant::now();
        loop {
            for _ in 0..SPINS_PER_LOOK {
                if self.load() != seen {
                    return true;
                }
                std::hint::spin_loop();
            }
            std::thread::yield_now();
            if began.elapsed() >= spin {
                return false;
            }
        }
    }

    /// Asks for a message with each ring, until [`Bell::unwatch`] is called as often. Look at the count after it, before
    /// waiting for the message.
    pub fn watch(&self) {
        self.word(2).fetch_add(1, Relaxed);
        fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Takes one [`Bell::watch`] back.
    pub fn unwatch(&self) {
        self.word(2).fetch_sub(1, Relaxed);
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        self.region.word(self.at + index * size_of::<u32>())
    }
}

impl Words for Bell {
    fn load(&self) -> u32 {
        self.word(0).load(Acquire)
    }

    fn store(&self, count: u32) {
        self.word(0).store(count, Release);
    }

    fn add_sleeper(&self) {
        self.word(1).fetch_add(1, Relaxed);
    }

    fn remove_sleeper(&self) {
        self.word(1).fetch_sub(1, Relaxed);
    }

    fn has_sleepers(&self) -> bool {
        self.word(1).load(Relaxed) != 0
    }

    fn fence(&self) {
        fence(std::sync::atomic::Ordering::SeqCst);
    }

    fn sleep(&self, seen: u32, limit: Duration) {
        let limit = futex::Timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // Not private: the ringer is another process. Whatever ends the sleep, the caller looks at the count.
        match futex::wait(self.word(0), futex::Flags::empty(), seen, Some(&limit)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(error) => unreachable!("a mapped, aligned word can be waited on: {error}"),
        }
    }

    fn wake(&self) {
        // It can only fail for an address that is not mapped.
        let _ = futex::wake(self.word(0), futex::Flags::empty(), u32::MAX >> 1);
    }
}

/// Whether the other process can run while this one spins.
fn spinning_helps() -> bool {
    static HELPS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HELPS.get_or_init(|| std::thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

#[cfg(test)]
mod tests;
