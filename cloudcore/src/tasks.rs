//! The loops of cloudcore that nobody calls: they turn facts into rows and rows into desired states.
//!
//! ```text
//! session -> ingest -> store -> plan (fleet-core) -> execute -> store -> hub
//!                        ^ expire
//! ```
//!
//! Each loop looks at the store and is only woken by [`crate::signals::Signals`]; a timer repairs a lost wake.

pub(crate) mod execute;
pub(crate) mod expire;
pub(crate) mod ingest;
pub(crate) mod plan;
