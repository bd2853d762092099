//! A recorder process seen from outside: started, ordered about, listened to, stopped, killed.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::message::{self, Event, Order};

/// Bytes read of the pipe at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the recorder said, or why nothing.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It said something.
    Event(Event),
    /// The time is over.
    Silence,
    /// It has ended.
    End,
}

/// A running recorder. Dropping it kills it.
pub(crate) struct Recorder {
    child: Child,
    orders: ChildStdin,
    events: ChildStdout,
    buffer: Vec<u8>,
}

/// How a recorder is started.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    /// Its outbox.
    pub(crate) directory: &'a Path,
    /// Free space below which appends are refused, in bytes.
    pub(crate) free_bytes_min: u64,
    /// A program to run it under, with its arguments.
    pub(crate) under: &'a [String],
}

impl Recorder {
    /// Starts one.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub(crate) fn start(start: &Start<'_>) -> Result<Self> {
        let own = std::env::current_exe().context("finding the running program")?;
        let mut command = match start.under.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(own);
                command
            }
            None => Command::new(own),
        };
        let mut child = command
            .args([
                "recorder",
                "--free-bytes-min",
                &start.free_bytes_min.to_string(),
            ])
            .arg("--directory")
            .arg(start.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a recorder")?;
        let orders = child.stdin.take().context("the recorder has no input")?;
        let events = child.stdout.take().context("the recorder has no output")?;
        let buffer = Vec::new();
        Ok(Self {
            child,
            orders,
            events,
            buffer,
        })
    }

    /// Gives an order. One that has ended meanwhile is noticed when listening.
    pub(crate) fn order(&mut self, order: &Order) {
        drop(self.orders.write_all(&message::encode(order)));
    }

    /// Waits until `deadline` for the next event.
    ///
    /// # Errors
    /// When the pipe breaks or carries what is no event.
    pub(crate) fn hear(&mut self, deadline: Instant) -> Result<Heard> {
        loop {
            if let Some(event) = message::take(&mut self.buffer).context("reading an event")? {
                return Ok(Heard::Event(event));
            }
            if !self.readable(deadline)? {
                return Ok(Heard::Silence);
            }
            let mut chunk = [0; CHUNK_BYTES];
            match self.events.read(&mut chunk).context("reading the pipe")? {
                0 => return Ok(Heard::End),
                length => self.buffer.extend_from_slice(&chunk[..length]),
            }
        }
    }

    fn readable(&self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("a wait of that length")?;
        let mut fds = [PollFd::new(&self.events, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno).context("waiting for the pipe"),
        }
    }

    fn id(&self) -> Result<Pid> {
        let id = i32::try_from(self.child.id()).context("a process id")?;
        Pid::from_raw(id).context("process id 0")
    }

    /// Halts every thread of it at once, so that its files stand still.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn halt(&self) -> Result<()> {
        kill_process(self.id()?, Signal::STOP).context("halting the recorder")?;
        waitid(WaitId::Pid(self.id()?), WaitIdOptions::STOPPED).context("waiting for the halt")?;
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn go_on(&self) -> Result<()> {
        kill_process(self.id()?, Signal::CONT).context("letting the recorder go on")
    }

    /// Ends it as a power cut would, and gives what it had said before.
    ///
    /// # Errors
    /// When the system refuses, or the pipe carries what is no event.
    pub(crate) fn kill(mut self) -> Result<Vec<Event>> {
        self.child.kill().context("killing the recorder")?;
        self.child.wait().context("waiting for the recorder")?;
        self.events
            .read_to_end(&mut self.buffer)
            .context("reading the pipe")?;
        let mut events = Vec::new();
        while let Some(event) = message::take(&mut self.buffer).context("reading an event")? {
            events.push(event);
        }
        Ok(events)
    }

    /// Closes it and gives what it said until then.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub(crate) fn close(mut self, patience: Duration) -> Result<Vec<Event>> {
        self.order(&Order::Close);
        let deadline = Instant::now() + patience;
        let mut events = Vec::new();
        loop {
            match self.hear(deadline)? {
                Heard::Event(event) => events.push(event),
                Heard::End => break,
                Heard::Silence => anyhow::bail!("the recorder does not end within {patience:?}"),
            }
        }
        self.child.wait().context("waiting for the recorder")?;
        Ok(events)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
