//! Why the certificate authority could not do something.

use std::path::PathBuf;

use thiserror::Error;

/// An operation on keys or certificates that failed.
#[derive(Debug, Error)]
pub(crate) enum PkiError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: is the data directory writable?")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is there and makes no sense.
    #[error("{path} is not {expected}: restore it from a backup")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// Half of the authority is gone.
    #[error(
        "{path} is missing beside the rest of the certificate authority: restore a backup; \
         a new root would lock out every enrolled agent"
    )]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// A key or certificate cannot be made.
    #[error("cannot make the {what}")]
    Make {
        /// Which.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// A certificate made here cannot be read.
    #[error("the certificate of `{role}` cannot be read: restore it from a backup")]
    Unreadable {
        /// Which.
        role: &'static str,
    },
    /// Certificates and keys do not make TLS settings.
    #[error(transparent)]
    Tls(#[from] millwright_identity::TlsError),
    /// The CSR of a device is not usable.
    #[error("the certificate request is not usable")]
    Request(#[source] rcgen::Error),
    /// The CSR of a device has a key of another kind.
    #[error("the certificate request must have an ECDSA P-256 key")]
    RequestKey,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}
