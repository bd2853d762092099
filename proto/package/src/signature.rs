//! Signatures in the OpenSSF Model Signing format (v1), as the `model-signing` tool's key mode writes
//! and reads them.
//!
//! ```text
//! Sigstore bundle v0.3 (JSON)
//!   verificationMaterial.publicKey.hint   SHA-256 of the signer's public key as PEM
//!   dsseEnvelope
//!     payloadType  application/vnd.in-toto+json
//!     payload      base64 of an in-toto statement:
//!                    subject            <model>@<version>, SHA-256 over all digests in order
//!                    predicate.resources  name, algorithm, digest of every file
//!     signatures   one: ECDSA P-256 with SHA-256 over PAE(payloadType, payload)
//! ```
//!
//! The payload is verified as the bytes that arrived, before it is parsed. The signer's own rules
//! for what to ignore are not followed: the signed resources must equal the file list exactly.
//! Nothing in a bundle can add a trusted key; the hint only picks one of those the caller holds.

mod bundle;
mod keys;
mod sign;
mod verify;

#[cfg(test)]
mod tests;

pub use bundle::BUNDLE_BYTES_MAX;
pub use keys::{KeyError, KeyHint, TRUST_KEY_COUNT_MAX, TrustKeys};
pub use sign::{SignError, SigningKey};
pub use verify::{VerifyError, claimed_signer, signer_hint, verify};
