//! The agent on a factory node: runs models next to the machine they watch, online or not.
//!
//! ```text
//!  session ──desired──> control ──steps──> executor ──> fetch, worker
//!     ^                    ^                  │            │
//!     │                    └──────facts───────┘            v
//!   outbox <── summaries, events <── telemetry <── serving, pipeline
//! ```
//!
//! A library besides the program `edge-agent`, so that tests and benches reach its parts. What it
//! decides is in the crate `edge-core`; here is what does it. [`app`] wires the parts.

pub mod app;
pub mod camera_page;
pub mod clock;
pub mod config;
pub mod connect;
pub mod control;
pub mod data_dir;
pub mod desired;
pub mod enroll;
pub mod executor;
pub mod fetch;
pub mod hard_examples;
pub mod hold;
pub(crate) mod https;
pub mod identity;
pub mod journal;
pub mod link;
pub mod local;
pub mod pipeline;
pub mod probe;
pub mod renew;
pub mod serving;
pub mod status;
pub mod storage;
pub mod store;
pub mod telemetry;
pub mod worker;
