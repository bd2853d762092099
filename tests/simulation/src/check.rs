//! The invariants that need to see both sides; those of one side are checked where they could break.
//!
//! [`fleet`] runs after every plan, [`settled`] once everything must have converged, [`books`] with it;
//! [`promise`] whenever a device is told what is counted.

mod books;
mod fleet;

pub use books::Totals;
pub(crate) use books::{books, promise};
pub(crate) use fleet::{fleet, settled};
