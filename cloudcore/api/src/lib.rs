//! Types of the public REST API, shared by cloudcore (server) and fleetctl (client).
//!
//! Kubernetes-shaped: every object is a [`Resource`] of `apiVersion`, `kind`, `metadata`, `spec` and
//! `status`. People write `spec`; cloudcore writes `status`. Unknown keys in a request are refused.
//! Knows nothing of storage, transport or authorisation.

mod hard_example;
mod kinds;
mod object;
mod problem;
mod telemetry;

pub use hard_example::*;
pub use kinds::*;
pub use object::*;
pub use problem::*;
pub use telemetry::*;

/// `apiVersion` of every kind in this crate.
pub const API_VERSION: &str = "millwright/v1";
