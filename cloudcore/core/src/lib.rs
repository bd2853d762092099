//! Decisions of the fleet: which version runs on which node, and why not yet.
//!
//! ```text
//! Snapshot (intent + observed facts) -> plan(now) -> Plan (desired states, rollouts, statuses, events)
//!      fleet    who is there, who is selected, who wins      rollout    waves, gates, budgets, fallback
//!      desired  generations, nodes ahead of the cloud        explain    why a node is not further
//! ```
//!
//! Pure: no clock, no randomness, no files, no message types; times are arguments and maps are ordered,
//! so one snapshot always makes one plan. It takes no hint about what changed. Applying a plan and
//! planning again makes an empty plan; `plan/tests.rs` asserts it, and `simulation.rs` drives the same
//! code against nodes that lose, repeat and reorder messages.

pub mod desired;
pub mod explain;
pub mod fleet;
pub mod ingest;
pub mod plan;
pub mod rollout;

#[cfg(test)]
mod simulation;

pub use plan::{Plan, Snapshot, plan};
