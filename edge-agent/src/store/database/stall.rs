//! Wakes commits that sled left waiting.
//!
//! When sled 0.34 cannot write the end of a batch (`exit_reservation`), it notes its error but does not
//! wake who waits for the write in `flush`, and that one waits for ever. Any later flush does wake it,
//! so a thread asks for one whenever a commit takes suspiciously long; the commit then gets its error.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;

/// A commit that takes longer is asked after. A slow SD card takes as long now and then; asking costs
/// it one waiting task of sled each time, and nothing else.
const SUSPICIOUS: Duration = Duration::from_secs(2);

/// What a commit tells the thread.
enum Tell {
    Begun,
    Ended,
}

/// The thread of one database; ends when dropped.
pub(super) struct Watch {
    commits: Option<Sender<Tell>>,
    thread: Option<JoinHandle<()>>,
}

/// A commit under way; over when dropped.
pub(super) struct Watched<'a>(&'a Watch);

impl Watch {
    pub(super) fn start(db: &sled::Db) -> std::io::Result<Self> {
        // At most two messages per commit, and commits wait for each other: it stays short.
        let (commits, told) = channel();
        let db = db.clone();
        let thread = std::thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || watch(&db, &told))?;
        Ok(Self {
            commits: Some(commits),
            thread: Some(thread),
        })
    }

    /// Watches a commit until what is returned is dropped.
    pub(super) fn commit(&self) -> Watched<'_> {
        self.tell(Tell::Begun);
        Watched(self)
    }

    fn tell(&self, what: Tell) {
        if let Some(commits) = &self.commits {
            // Without the thread commits are as sled makes them.
            drop(commits.send(what));
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.tell(Tell::Ended);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take() {
            // It holds the database until it ends, and whoever drops this wants the files free.
            drop(thread.join());
        }
    }
}

fn watch(db: &sled::Db, told: &Receiver<Tell>) {
    let mut under_way = 0_u32;
    loop {
        let tell = if under_way == 0 {
            told.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            told.recv_timeout(SUSPICIOUS)
        };
        match tell {
            Ok(Tell::Begun) => under_way += 1,
            Ok(Tell::Ended) => under_way = under_way.saturating_sub(1),
            // Polled once, it runs on a thread of sled; what comes of it is told to the commit itself.
            Err(RecvTimeoutError::Timeout) => drop(db.flush_async().now_or_never()),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
