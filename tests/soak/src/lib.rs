//! A node that is offline for months, in minutes: real windows into a real outbox, then out of it again.
//!
//! ```text
//! generate ── Window::encode ──▶ Outbox::append ─(quota, merging)─▶ Outbox::offer ──▶ sink ── totals
//!     '────────────────────────── totals ─────────────────────────────────────────▶ equal?
//! ```
//!
//! Owns the generator ([`generate`]), a sink that takes records by the rule of cloudcore ([`sink`]) and the run itself
//! ([`offline`]). It knows the outbox only by its public handle. What must hold: every sequence number arrives
//! exactly once or in a declared gap, every record holds exactly the requests of the numbers it covers, and without
//! gaps the totals of everything are the same windows merged by hand, down to the last bucket.

pub mod generate;
pub mod offline;
pub mod sink;
