//! Who is who between agents, cloudcore and people: names in certificates, pinned roots, join
//! tokens, and the TLS settings that follow from them.
//!
//! ```text
//!  JoinToken  mwj1.<id>.<secret>.<root pin>     carried by a person to a device
//!      | root pin
//!      v
//!  pinned_client_config      first contact: only the pin is known
//!      | enrollment brings the root and a certificate
//!      v
//!  node_client_config        every session after: mutual TLS, with NodeCredentials
//!      |
//!      v
//!  renewed_server_config_for_nodes + NodeIdentity::from_certificate   cloudcore's side
//! ```
//!
//! A client checks cloudcore for the constant [`SERVER_NAME`], whatever address it dials, so an
//! address may change without a new certificate and a stolen DNS name gains nothing. A node is
//! whom its certificate names: one SPIFFE URI and its uid, no DNS name, so that no node can pose
//! as cloudcore.
//!
//! This crate deliberately issues no certificates (cloudcore does), opens no socket and touches no
//! file. Bytes and text from a peer are hostile until parsed: errors say what is wrong, never
//! panic and never repeat a secret. Asserted by the `tests` beside each module.

mod certificate;
mod credentials;
mod join;
mod node;
mod pin;
mod proof;
mod secret;
mod tickets;
mod tls;
mod verifier;

pub use certificate::{CertificateError, Validity};
pub use credentials::{NodeCredentials, ServerCredentials};
pub use join::{JoinToken, JoinTokenError};
pub use node::{IdentityError, NodeIdentity, TrustDomain};
pub use pin::{PinError, RootPin};
pub use proof::{ProofError, renewal_statement, verify_identity_proof};
pub use secret::Secret;
pub use tickets::{TICKET_LIFE_S, TICKET_SECRET_BYTES, TicketSecrets};
pub use tls::{
    CertifiedKey, TlsError, node_client_config, pinned_client_config, renewed_server_config,
    renewed_server_config_for_nodes, rooted_client_config, server_config, server_config_for_nodes,
    server_name,
};

/// The one DNS name in every certificate of cloudcore; `internal` is reserved for private use
/// (ICANN board resolution 2024.07.29.06), so no public CA can issue it.
pub const SERVER_NAME: &str = "cloudcore.millwright.internal";

#[cfg(test)]
mod fixture;
