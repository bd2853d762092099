//! Shared memory and control socket between the agent and one worker process.
//!
//! Owns the two things that join the processes: a [`Region`] of memory, in which tensor bytes lie, and
//! a [`ControlSocket`], over which small messages say which bytes mean what. It deliberately knows
//! neither tensors nor messages.
//!
//! ```text
//!  agent                                             worker
//!  Slot::write(inputs) ── memory ──────────────────▶ Slot::read
//!  ControlSocket::send ── one bounded message ─────▶ ControlSocket::receive
//!  ControlSocket::receive ◀── one bounded message ── ControlSocket::send
//!  Slot::read ◀── memory ─────────────────────────── Slot::write(outputs)
//! ```
//!
//! Each side treats the other as hostile: offsets are checked against the slot, a message longer than
//! [`MESSAGE_BYTES_MAX`] is an error, and no reference into shared memory ever leaves this crate, so
//! nothing that was checked can change afterwards. The memory is sealed: neither side can shrink it
//! under the other, which would turn an access into SIGBUS.
//!
//! This is the only crate with `unsafe`: mapping, unmapping, copying, registering the socket with tokio,
//! and closing what a process was started with, each with its reason.

pub mod async_socket;
mod inherited;
pub mod memory;
pub mod socket;

pub use async_socket::AsyncControlSocket;
pub use inherited::close_inherited;
pub use memory::{MemoryError, Region, Slot};
pub use socket::{ControlSocket, MESSAGE_BYTES_MAX, Received, SocketError};
