//! The agent's end of the control socket, for tasks instead of threads.

use std::io;

use rustix::fd::BorrowedFd;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

use crate::socket::{ControlSocket, Received, SocketError};

/// A [`ControlSocket`] that waits in the current tokio runtime instead of blocking its thread.
#[derive(Debug)]
pub struct AsyncControlSocket(AsyncFd<ControlSocket>);

impl AsyncControlSocket {
    /// Takes over one end. Call it inside a tokio runtime with IO enabled.
    ///
    /// # Errors
    /// When the kernel refuses to make it non-blocking or to watch it.
    pub fn new(socket: ControlSocket) -> Result<Self, SocketError> {
        socket.set_nonblocking()?;
        // SAFETY: the socket owns its descriptor: it stays open and the same until the `AsyncFd` that
        // owns the socket is dropped. Nothing hands the socket out again or replaces it.
        let registered = unsafe { AsyncFd::register(socket) };
        registered
            .map(Self)
            .map_err(|error: AsyncFdRegisterError<_>| SocketError::Watch(error.into_parts().1))
    }

    /// Sends one message at once, or fails: never waits.
    ///
    /// # Errors
    /// As [`ControlSocket::send`]; also when the other process left so many messages unread that
    /// there is no room for another.
    pub fn send(&self, message: &[u8]) -> Result<(), SocketError> {
        self.0.get_ref().send(message)
    }

    /// Like [`AsyncControlSocket::send`], with a descriptor.
    ///
    /// # Errors
    /// As [`ControlSocket::send_with_file`].
    pub fn send_with_file(&self, message: &[u8], file: BorrowedFd<'_>) -> Result<(), SocketError> {
        self.0.get_ref().send_with_file(message, file)
    }

    /// Waits for one message and receives it into `buffer`. Cancel safe.
    ///
    /// # Errors
    /// As [`ControlSocket::receive`].
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.0
            .async_io(Interest::READABLE, |socket| Ok(socket.receive(buffer)?))
            .await
    }

    /// As [`ControlSocket::shut_down`]; a pending [`AsyncControlSocket::receive`] ends too.
    pub fn shut_down(&self) {
        self.0.get_ref().shut_down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiting_task_gets_the_message_and_then_the_end() {
        let (agent, worker) = ControlSocket::pair().unwrap();
        let agent = AsyncControlSocket::new(agent).unwrap();
        agent.send(b"run").unwrap();
        let mut heard = [0; 8];
        assert_eq!(worker.receive(&mut heard).unwrap(), Received::Message(3));
        let answered = std::thread::spawn(move || worker.send(b"done"));
        let mut buffer = [0; 8];
        let received = agent.receive(&mut buffer).await.unwrap();
        assert_eq!(received, Received::Message(4));
        answered.join().unwrap().unwrap();
        assert_eq!(agent.receive(&mut buffer).await.unwrap(), Received::Closed);
    }

    #[tokio::test]
    async fn shutting_down_wakes_both_ends() {
        let (agent, worker) = ControlSocket::pair().unwrap();
        let agent = AsyncControlSocket::new(agent).unwrap();
        agent.shut_down();
        assert_eq!(agent.receive(&mut [0; 8]).await.unwrap(), Received::Closed);
        assert_eq!(worker.receive(&mut [0; 8]).unwrap(), Received::Closed);
    }
}
