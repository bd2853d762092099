//! The control socket: one bounded message per packet, with at most one descriptor beside it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use thiserror::Error;

/// Longest message. The longest real one lists the inputs and outputs of a model, about 100 bytes
/// each; the kernel's default socket buffer holds three messages of this size.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Why a message could not be sent or received.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The kernel refused; [`SocketError::would_block`] tells whether it is only not ready.
    #[error("control socket: {operation} failed: {source}")]
    System {
        /// The step, as a system call.
        operation: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("control message of {length} bytes is over the limit of {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Length of the message in bytes.
        length: usize,
    },
    /// The runtime cannot wait for it.
    #[error("watching the control socket failed: {0}")]
    Watch(std::io::Error),
}

impl SocketError {
    /// Whether a non-blocking socket merely has nothing to read or no room to write.
    #[must_use]
    pub fn would_block(&self) -> bool {
        matches!(self, Self::System { source, .. } if *source == Errno::AGAIN)
    }
}

impl From<SocketError> for std::io::Error {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::System { source, .. } => source.into(),
            SocketError::Watch(source) => source,
            SocketError::TooLong { .. } => Self::new(std::io::ErrorKind::InvalidData, error),
        }
    }
}

/// What [`ControlSocket::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of this many bytes, at the beginning of the buffer.
    Message(usize),
    /// The other process closed its end or is gone.
    Closed,
}

/// One end of a connected pair. Sending and receiving are one system call each.
#[derive(Debug)]
pub struct ControlSocket(OwnedFd);

fn system(operation: &'static str) -> impl FnOnce(Errno) -> SocketError {
    move |source| SocketError::System { operation, source }
}

impl ControlSocket {
    /// A connected pair of blocking ends, both closed on exec.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pair() -> Result<(Self, Self), SocketError> {
        rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map(|(one, other)| (Self(one), Self(other)))
        .map_err(system("socketpair"))
    }

    /// Makes this end return an error instead of waiting; the other end is not affected.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_nonblocking(&self) -> Result<(), SocketError> {
        rustix::io::ioctl_fionbio(&self.0, true).map_err(system("ioctl(FIONBIO)"))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When it is too long or the other end is gone.
    pub fn send(&self, message: &[u8]) -> Result<(), SocketError> {
        check_length(message)?;
        retry(|| rustix::net::send(&self.0, message, SendFlags::NOSIGNAL))
            .map(|_| ())
            .map_err(system("send"))
    }

    /// Sends one message with a descriptor, which the other process gets a copy of.
    ///
    /// # Errors
    /// When it is too long or the other end is gone.
    pub fn send_with_file(&self, message: &[u8], file: BorrowedFd<'_>) -> Result<(), SocketError> {
        check_length(message)?;
        let files = [file];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(&files));
        debug_assert!(fits, "the buffer is made for one descriptor");
        let parts = [IoSlice::new(message)];
        retry(|| rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL))
            .map(|_| ())
            .map_err(system("sendmsg"))
    }

    /// Receives one message into `buffer`, which should hold [`MESSAGE_BYTES_MAX`]. Waits for it unless
    /// the socket is non-blocking.
    ///
    /// # Errors
    /// When the message does not fit (it is lost then) or the kernel refuses.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, SocketError> {
        let room = buffer.len();
        let (_, length) = retry(|| rustix::net::recv(&self.0, &mut *buffer, RecvFlags::TRUNC))
            .map_err(system("recv"))?;
        received(length, room)
    }

    /// Like [`ControlSocket::receive`], taking the descriptor that came with the message.
    ///
    /// # Errors
    /// As [`ControlSocket::receive`].
    pub fn receive_with_file(
        &self,
        buffer: &mut [u8],
    ) -> Result<(Received, Option<OwnedFd>), SocketError> {
        let room = buffer.len();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::TRUNC | RecvFlags::CMSG_CLOEXEC;
        let message = retry(|| {
            let mut parts = [IoSliceMut::new(&mut *buffer)];
            rustix::net::recvmsg(&self.0, &mut parts, &mut control, flags)
        })
        .map_err(system("recvmsg"))?;
        let file = control.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        Ok((received(message.bytes, room)?, file))
    }

    /// Tells the other process that nothing more will come: it receives [`Received::Closed`].
    pub fn shut_down(&self) {
        // A failure means that the other end is already gone, which is what was wanted.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }
}

fn check_length(message: &[u8]) -> Result<(), SocketError> {
    // An empty packet would look like the end of the connection.
    if message.is_empty() || message.len() > MESSAGE_BYTES_MAX {
        return Err(SocketError::TooLong {
            length: message.len(),
        });
    }
    Ok(())
}

fn received(length: usize, room: usize) -> Result<Received, SocketError> {
    match length {
        0 => Ok(Received::Closed),
        length if length > room => Err(SocketError::TooLong { length }),
        length => Ok(Received::Message(length)),
    }
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

impl From<OwnedFd> for ControlSocket {
    fn from(file: OwnedFd) -> Self {
        Self(file)
    }
}

impl From<ControlSocket> for OwnedFd {
    fn from(socket: ControlSocket) -> Self {
        socket.0
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ControlSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Region;
    use crate::memory::SLOT_ALIGNMENT;

    #[test]
    fn messages_keep_their_boundaries() {
        let (agent, worker) = ControlSocket::pair().unwrap();
        agent.send(b"one").unwrap();
        agent.send(b"two!").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(worker.receive(&mut buffer).unwrap(), Received::Message(3));
        assert_eq!(worker.receive(&mut buffer).unwrap(), Received::Message(4));
        assert_eq!(&buffer[..4], b"two!");
    }

    #[test]
    fn a_closed_end_is_seen_and_sending_to_it_is_an_error_not_a_signal() {
        let (agent, worker) = ControlSocket::pair().unwrap();
        drop(worker);
        assert_eq!(agent.receive(&mut [0; 4]).unwrap(), Received::Closed);
        assert!(matches!(
            agent.send(b"x"),
            Err(SocketError::System {
                operation: "send",
                source: Errno::PIPE
            })
        ));
    }

    #[test]
    fn too_long_messages_are_refused_on_both_sides() {
        let (agent, worker) = ControlSocket::pair().unwrap();
        let long = vec![0; MESSAGE_BYTES_MAX + 1];
        assert!(matches!(
            agent.send(&long),
            Err(SocketError::TooLong { length }) if length == long.len()
        ));
        agent.send(&[1; 8]).unwrap();
        assert!(matches!(
            worker.receive(&mut [0; 4]),
            Err(SocketError::TooLong { length: 8 })
        ));
    }

    #[test]
    fn memory_travels_with_a_message() {
        let (agent, worker) = ControlSocket::pair().unwrap();
        let region = Region::create(SLOT_ALIGNMENT).unwrap();
        agent.send_with_file(b"load", region.file()).unwrap();
        let (received, file) = worker.receive_with_file(&mut [0; 16]).unwrap();
        assert_eq!(received, Received::Message(4));
        assert_eq!(
            Region::open(file.unwrap()).unwrap().length(),
            SLOT_ALIGNMENT
        );
    }

    #[test]
    fn a_nonblocking_end_says_that_it_would_wait() {
        let (agent, _worker) = ControlSocket::pair().unwrap();
        agent.set_nonblocking().unwrap();
        assert!(agent.receive(&mut [0; 4]).unwrap_err().would_block());
    }
}
