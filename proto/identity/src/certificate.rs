//! Reading certificates: those a peer shows, and how long one's own is good.

use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Largest certificate looked at, in bytes. Ours are under 1 KiB.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Why bytes are not a certificate.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// Longer than anything this CA issues.
    #[error("certificate has {0} bytes, over the limit of {CERTIFICATE_BYTES_MAX}")]
    TooLong(usize),
    /// Not the DER form of an X.509 certificate.
    #[error("certificate of {0} bytes is not X.509 in DER form")]
    NotX509(usize),
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLong(der.len()));
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(CertificateError::NotX509(der.len())),
    }
}

/// From when to when a certificate is good, in Unix seconds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

impl Validity {
    /// Of a certificate in DER form; a date before 1970 reads as 1970.
    ///
    /// # Errors
    /// When `der` is not a certificate.
    pub fn of_certificate(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp());
        Ok(Self {
            not_before: seconds(certificate.validity().not_before).unwrap_or(0),
            not_after: seconds(certificate.validity().not_after).unwrap_or(0),
        })
    }

    /// Whether it is over at `unix_seconds`.
    #[must_use]
    pub const fn is_over(&self, unix_seconds: u64) -> bool {
        unix_seconds > self.not_after
    }
}
