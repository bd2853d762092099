//! What of a node's reports counts: the rules that make every record count exactly once.
//!
//! Owns where a range of sequence numbers stands against its stream's watermark ([`sequence`]) and
//! whether the secret of a Hello is the node's own ([`secret`]). It knows no store: the caller moves
//! the watermark in the transaction that stores what the watermark counts.

pub mod secret;
pub mod sequence;
