//! Rows of sensor values on their way to a model: joined by time, scaled, gathered in windows.
//!
//! ```text
//! parts of rows ─▶ Joiner ─▶ rows ─▶ Scaling ─▶ Windows ─▶ numbers of one input
//! ```
//!
//! Pure: a part says when it was measured, the caller says when it arrived. Every buffer is bounded
//! ([`join::ROWS_WAITING_MAX`], the size of a window). Invariants, asserted in `sensors/tests.rs`: a row is given out
//! once, rows come in the order of their times, a part is given out, dropped or waits, and never two of these.

pub mod join;
mod scaling;
mod window;

pub use join::{Dropped, Joined, Joiner, Joining, Outcome, Part};
pub use scaling::Scaling;
pub use window::{Windows, by_field};

#[cfg(test)]
mod tests;
