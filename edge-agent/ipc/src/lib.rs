//! Shared memory and control socket between the agent and one worker process.
//!
//! Owns the two things that join the processes: a [`Region`] of memory and a [`ControlSocket`]. In the memory lie tensors
//! with the message that says which bytes mean what ([`Slot`]), and the words by which each side tells the other that there
//! is something to do ([`Board`], [`Bell`]). The socket carries the memory itself, what is said before the first request,
//! a nudge for a task that cannot sleep on a bell, and, by closing, the end of either process. It deliberately knows neither
//! tensors nor messages.
//!
//! ```text
//!  agent                                                       worker
//!  Slot::write(inputs, message) ── memory ───────────────────▶ Slot::read
//!  Board::request ── queue, requests bell ───────────────────▶ Bell::wait
//!  Bell::wait, or a nudge on the socket ◀── answers bell ───── Bell::ring
//!  Slot::read ◀── memory ────────────────────── Slot::write(outputs, message)
//! ```
//!
//! Each side treats the other as hostile: offsets are checked against the slot, a message longer than
//! [`MESSAGE_BYTES_MAX`] is an error, and no reference into shared memory ever leaves this crate, so
//! nothing that was checked can change afterwards. A wait has a limit. The memory is sealed: neither side can shrink it
//! under the other, which would turn an access into SIGBUS.
//!
//! Beside `edge-strings` this is the only crate with `unsafe`: mapping, unmapping, copying, the words of the board, registering the socket
//! with tokio, and closing what a process was started with, each with its reason.

pub mod async_socket;
pub mod bell;
pub mod board;
mod inherited;
pub mod memory;
pub mod socket;

pub use async_socket::AsyncControlSocket;
pub use bell::Bell;
pub use board::{Board, SLOTS_MAX, region_bytes};
pub use inherited::close_inherited;
pub use memory::{MemoryError, Region, Slot};
pub use socket::{ControlSocket, MESSAGE_BYTES_MAX, Received, SocketError};
