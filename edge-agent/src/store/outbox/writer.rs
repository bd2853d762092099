//! The thread that owns the outbox: one command after the other, appends in groups.
//!
//! Decide (pure), write, and only then take the decision over. A failed write closes the store; the
//! next command opens it again and removes what was never confirmed, so a caller that repeats a
//! failed append is not counted twice.

use std::path::PathBuf;

use bytes::Bytes;
use edge_core::link::Transport;
use edge_core::outbox::{Backlog, Cursor, Room, Stream, Wear};
use millwright_proto::ids::Lineage;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Greeting, OutboxLimits, OutboxStats, Outgoing, Place};
use crate::store::database::Layout;
use crate::store::recovery::{self, DirectoryLock};
use crate::store::{RecoveryNote, StoreError};

mod books;

use books::Books;

/// Appends that share one flush. More would only make the first of them wait longer.
const GROUP_MAX: usize = 64;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        stream: Stream,
        payload: Bytes,
        reply: Reply<Place>,
    },
    Greet {
        reply: Reply<Greeting>,
    },
    Welcomed {
        transport: Transport,
        secret: Vec<u8>,
        watermarks: Vec<(Stream, u64)>,
        reply: Reply<()>,
    },
    Offer {
        room: Room,
        reply: Reply<Vec<Outgoing>>,
    },
    Acknowledge {
        stream: Stream,
        through: u64,
        reply: Reply<()>,
    },
    Stats {
        reply: Reply<OutboxStats>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// How far the current session is. Greeted by a Hello, welcomed by its Welcome.
enum Session {
    None,
    Greeted(Lineage),
    Welcomed(Lineage, Cursor),
}

impl Session {
    fn lineage(&self) -> Option<Lineage> {
        match self {
            Self::None => None,
            Self::Greeted(lineage) | Self::Welcomed(lineage, _) => Some(*lineage),
        }
    }
}

/// See the module.
pub(super) struct Writer {
    directory: PathBuf,
    limits: OutboxLimits,
    books: Option<Books>,
    session: Session,
    /// Appended by a commit that failed, so perhaps on disk; to be removed when it is opened again.
    unconfirmed: Vec<(Stream, u64)>,
    backlog: watch::Sender<Backlog>,
    wear: watch::Sender<Wear>,
    /// Last, so that the store is closed before another process may have it.
    _lock: DirectoryLock,
}

struct Append {
    stream: Stream,
    payload: Bytes,
    reply: Reply<Place>,
}

impl Writer {
    pub(super) fn open(
        directory: PathBuf,
        limits: OutboxLimits,
        backlog: watch::Sender<Backlog>,
        wear: watch::Sender<Wear>,
    ) -> Result<(Self, Vec<RecoveryNote>), StoreError> {
        let lock = DirectoryLock::acquire(&directory)?;
        let mut writer = Self {
            directory,
            limits,
            books: None,
            session: Session::None,
            unconfirmed: Vec::new(),
            backlog,
            wear,
            _lock: lock,
        };
        let notes = writer.reopen()?;
        Ok((writer, notes))
    }

    fn reopen(&mut self) -> Result<Vec<RecoveryNote>, StoreError> {
        let opened = recovery::open(
            &self.directory,
            Layout::Rotated,
            self.limits.free_bytes_min,
            super::contents::read,
        )?;
        let (books, notes) = Books::open(opened, self.limits, &self.unconfirmed)?;
        self.unconfirmed.clear();
        self.books = Some(books);
        self.publish_backlog();
        Ok(notes)
    }

    fn books(&mut self) -> Result<&mut Books, StoreError> {
        if self.books.is_none() {
            for note in self.reopen()? {
                tracing::warn!(%note, "the outbox was opened again");
            }
        }
        self.books.as_mut().ok_or(StoreError::Closed)
    }

    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut held = None;
        while let Some(command) = held.take().or_else(|| commands.blocking_recv()) {
            match command {
                Command::Append {
                    stream,
                    payload,
                    reply,
                } => {
                    let mut group = vec![Append {
                        stream,
                        payload,
                        reply,
                    }];
                    held = collect(&mut commands, &mut group);
                    self.append(group);
                }
                Command::Close { reply } => {
                    if let Some(books) = &mut self.books {
                        books.close();
                    }
                    drop(self);
                    // The one who asked may be gone; the store is closed all the same.
                    let _ = reply.send(());
                    return;
                }
                other => self.session_command(other),
            }
        }
    }

    fn publish_backlog(&self) {
        if let Some(books) = &self.books {
            let wear = books.wear();
            self.wear.send_if_modified(|seen| {
                let changed = *seen != wear;
                *seen = wear;
                changed
            });
            let backlog = books.backlog();
            self.backlog.send_if_modified(|seen| {
                let changed = *seen != backlog;
                *seen = backlog;
                changed
            });
        }
    }

    fn append(&mut self, group: Vec<Append>) {
        let records: Vec<_> = group
            .iter()
            .map(|append| (append.stream, append.payload.clone()))
            .collect();
        let mut tried = Vec::new();
        let result = match self.books() {
            Ok(books) => books
                .append(&records, &mut tried)
                .map(|sequences| (books.lineage(), sequences)),
            Err(error) => Err(error),
        };
        match result {
            Ok((lineage, sequences)) => {
                self.publish_backlog();
                for (append, sequence) in group.into_iter().zip(sequences) {
                    // A caller that went away has its record stored all the same.
                    drop(append.reply.send(Ok(Place { lineage, sequence })));
                }
                self.tidy();
            }
            Err(error) => {
                let text = error.to_string();
                self.distrust(&error, tried);
                let mut group = group.into_iter();
                if let Some(first) = group.next() {
                    drop(first.reply.send(Err(error)));
                }
                for append in group {
                    drop(append.reply.send(Err(StoreError::Group(text.clone()))));
                }
            }
        }
    }

    /// The appends are answered, so nobody hears of an error here but the log.
    fn tidy(&mut self) {
        if let Some(books) = &mut self.books
            && let Err(error) = books.tidy()
        {
            tracing::warn!(%error, "cannot tidy up the outbox, will try again");
            self.distrust(&error, Vec::new());
        }
    }

    /// After an error that leaves the disk in doubt the store is read again before it is used.
    fn distrust(&mut self, error: &StoreError, tried: Vec<(Stream, u64)>) {
        match error {
            StoreError::File { .. }
            | StoreError::Database { .. }
            | StoreError::Stuck { .. }
            | StoreError::Damaged { .. } => {
                self.unconfirmed.extend(tried);
                self.books = None;
            }
            // Nothing was written.
            StoreError::DiskFull { .. }
            | StoreError::TooLarge { .. }
            | StoreError::InUse { .. }
            | StoreError::Restarted
            | StoreError::Settle(_)
            | StoreError::Group(_)
            | StoreError::Closed => {}
        }
    }

    fn session_command(&mut self, command: Command) {
        match command {
            Command::Greet { reply } => {
                let result = self.greet();
                self.answer(reply, result);
            }
            Command::Welcomed {
                transport,
                secret,
                watermarks,
                reply,
            } => {
                let result = self.welcomed(transport, secret, &watermarks);
                self.answer(reply, result);
            }
            Command::Offer { room, reply } => {
                let result = self.offer(room);
                self.answer(reply, result);
            }
            Command::Acknowledge {
                stream,
                through,
                reply,
            } => {
                let result = self
                    .session_books()
                    .and_then(|books| books.acknowledge(stream, through));
                self.answer(reply, result);
            }
            Command::Stats { reply } => {
                let result = self.books().and_then(|books| books.stats());
                self.answer(reply, result);
            }
            Command::Append { .. } | Command::Close { .. } => {
                unreachable!("the loop takes these itself")
            }
        }
    }

    fn answer<T>(&mut self, reply: Reply<T>, result: Result<T, StoreError>) {
        match &result {
            Ok(_) => self.publish_backlog(),
            Err(error) => self.distrust(error, Vec::new()),
        }
        // A session that ended meanwhile asks again in the next one.
        drop(reply.send(result));
    }

    fn greet(&mut self) -> Result<Greeting, StoreError> {
        let greeting = self.books()?.greeting();
        self.session = Session::Greeted(greeting.lineage);
        Ok(greeting)
    }

    /// The books, if they are still those that the session greeted with.
    fn session_books(&mut self) -> Result<&mut Books, StoreError> {
        let greeted = self.session.lineage();
        let books = self.books()?;
        if greeted == Some(books.lineage()) {
            Ok(books)
        } else {
            Err(StoreError::Restarted)
        }
    }

    fn welcomed(
        &mut self,
        transport: Transport,
        secret: Vec<u8>,
        watermarks: &[(Stream, u64)],
    ) -> Result<(), StoreError> {
        let books = self.session_books()?;
        books.welcomed(transport, secret, watermarks)?;
        self.session = Session::Welcomed(books.lineage(), books.cursor());
        Ok(())
    }

    fn offer(&mut self, room: Room) -> Result<Vec<Outgoing>, StoreError> {
        let Session::Welcomed(_, cursor) = &self.session else {
            return Ok(Vec::new());
        };
        let cursor = cursor.clone();
        let books = self.session_books()?;
        let (outgoing, cursor) = books.offer(&cursor, room)?;
        self.session = Session::Welcomed(books.lineage(), cursor);
        Ok(outgoing)
    }
}

/// Adds the appends that already wait; gives back the first other command.
fn collect(commands: &mut mpsc::Receiver<Command>, group: &mut Vec<Append>) -> Option<Command> {
    while group.len() < GROUP_MAX {
        match commands.try_recv() {
            Ok(Command::Append {
                stream,
                payload,
                reply,
            }) => group.push(Append {
                stream,
                payload,
                reply,
            }),
            Ok(other) => return Some(other),
            Err(_empty_or_closed) => return None,
        }
    }
    None
}
