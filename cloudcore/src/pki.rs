//! The fleet's own certificate authority, under `<data-dir>/pki/`.
//!
//! ```text
//!                 root (25 years; agents pin the hash of its key)
//!                  |                          |
//!        issuing CA for nodes         issuing CA for servers
//!                  |                          |
//!        node certificates            certificate of this server
//! ```
//!
//! Owns every private key of the cloud side: files of mode 0600, written whole or not at all, never
//! logged. It does not know who may have a certificate; enrollment decides and then asks. Nodes and
//! servers have separate issuing CAs, and sessions trust only the one for nodes, so neither kind of
//! certificate can pass for the other.
//!
//! While the server runs, [`Pki`] renews its certificate and takes over what `cloudcore ca rotate` has made, without a
//! restart and without touching a live session.
//!
//! On failure nothing is half made: a missing file is made anew only where that is safe (a server
//! certificate); a missing root beside existing certificates is an error, because a new root would
//! lock out every agent.

mod authority;
mod error;
mod files;
mod live;
mod node;
mod server;
pub(crate) mod show;
mod tickets;

pub(crate) use authority::Authority;
pub(crate) use error::PkiError;
pub(crate) use files::{random, read_or_make_secret, write_private};
pub(crate) use live::Pki;
pub(crate) use node::{Lifetime, NodeCertificate};

#[cfg(test)]
mod tests;
