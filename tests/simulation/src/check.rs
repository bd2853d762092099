//! The invariants that need to see both sides; those of one side are checked where they could break.
//!
//! [`fleet`] runs after every plan, [`settled`] once everything must have converged, [`books`] with it.

mod books;
mod fleet;

pub use books::Totals;
pub(crate) use books::books;
pub(crate) use fleet::{fleet, settled};
