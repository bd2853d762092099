//! A whole fleet in one seeded run: both core crates through 30 simulated days, without IO or a clock.
//!
//! ```text
//!  scenario (from the seed): fleet, operator's script, faults
//!       |
//!  world: queue of events --> node   edge-core: outbox, link, reconcile, desired, windows; disk, executor
//!                         --> cloud  fleet-core: plan, rollout, what counts; store, sessions, operator
//!                         --> check  invariants after every event and at the end; books of every record
//! ```
//!
//! Every decision is the cores' own; here is only what the shells of both programs do around it, in their
//! order: decide, make durable, take over, send. Kills and crashes fall between any two of these. A
//! seed fixes a run down to the hash of its event log; a failure prints the seed and how to replay it.
//!
//! Hours in which nothing can happen to a device are skipped: its windows are cut one by one all the same, but
//! appended, sent and counted in groups, as the real store does with what waits.

mod books;
mod check;
mod cloud;
mod event;
mod node;
mod random;
mod scenario;
mod seam;
mod shared;
mod trace;
mod world;

pub use check::Totals;
pub use seam::Bug;
pub use trace::Printing;
pub use world::{Failed, Options, Passed, run};
