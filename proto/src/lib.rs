//! What agent and cloudcore both speak: identities, digests, framing and the messages of a session.
//!
//! Owns the names of things ([`ids`]), content addresses ([`digest`]), how a message becomes bytes
//! on a transport ([`frame`]), the generated message types ([`link`]) and the bounds of one exchange that both sides
//! keep ([`hard_example`]). It deliberately knows no
//! transport, no file and no clock.
//!
//! Inputs are bytes from a peer, which are hostile until parsed: every parser here returns an error
//! that names what was wrong and never panics. Invariant: a message encoded by any released version
//! decodes in every later one; the golden bytes in `proto/golden/` assert it.

pub mod digest;
pub mod frame;
pub mod hard_example;
pub mod ids;
pub mod link;

pub use digest::Digest;
