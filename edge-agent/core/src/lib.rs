//! Decisions of the agent: pure functions over plain data.
//!
//! Owns what the agent decides and nothing of how it is done: which model version runs
//! ([`models`], [`reconcile`]), which desired state is in force ([`desired`]), what a hold at
//! the box keeps as it is ([`hold`]), which transport comes next ([`link`]), whether
//! another worker fits into memory ([`memory`]), what the outbox keeps and resends ([`outbox`]), how observations
//! become a window ([`summary`]), whether inputs and outputs drift ([`drift`]), how values of many
//! sensors become a model's input ([`sensors`]), which time it is ([`clock`]) and when the certificate is renewed
//! ([`renewal`]). Time, random seeds and identities are arguments; there is no tokio, file or clock
//! here, so a simulation runs the same code. The manifest is the proof: nothing that does IO is
//! listed in it.

pub mod clock;
pub mod desired;
pub mod drift;
pub mod hold;
pub mod link;
pub mod memory;
pub mod models;
pub mod outbox;
pub mod reconcile;
pub mod renewal;
pub mod sensors;
pub mod summary;
