//! Connections to the local endpoint, over TCP or a Unix socket: bounded in number, and knowing whether the client is on
//! this machine.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections open at once; further ones wait in the kernel. A node serves the machines around it, each with a
/// few connections; every one costs about 20 KiB.
const CONNECTIONS_MAX: usize = 256;

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// On this machine.
    Here,
    /// Somewhere in the network.
    Network,
}

impl From<std::net::SocketAddr> for Peer {
    fn from(address: std::net::SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() {
            Self::Here
        } else {
            Self::Network
        }
    }
}

impl From<tokio::net::unix::SocketAddr> for Peer {
    fn from(_: tokio::net::unix::SocketAddr) -> Self {
        Self::Here
    }
}

/// A listener that accepts no more than [`CONNECTIONS_MAX`] at a time.
pub(super) struct Connections<L> {
    listener: L,
    free: Arc<Semaphore>,
}

/// One accepted connection; its place is free again when it is dropped.
pub(super) struct Connection<S> {
    stream: S,
    _place: OwnedSemaphorePermit,
}

impl<L> Connections<L> {
    pub(super) fn new(listener: L) -> Self {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { listener, free }
    }
}

impl<L: Listener<Addr: Into<Peer>>> Listener for Connections<L> {
    type Io = Connection<L::Io>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection<L::Io>, Peer) {
        let place = Arc::clone(&self.free).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        // Waits and tries again when the process is out of descriptors.
        let (stream, peer) = self.listener.accept().await;
        let connection = Connection {
            stream,
            _place: place,
        };
        (connection, peer.into())
    }

    fn local_addr(&self) -> io::Result<Peer> {
        self.listener.local_addr().map(Into::into)
    }
}

impl<L: Listener<Addr: Into<Peer>>> Connected<IncomingStream<'_, Connections<L>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections<L>>) -> Self {
        *stream.remote_addr()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
