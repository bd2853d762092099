//! Reading the certificates a peer shows.

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

/// From when to when a certificate is valid, in Unix seconds; `None` when it is none.
#[must_use]
pub fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let certificate = parse(der).ok()?;
    let validity = certificate.validity();
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok();
    Some((seconds(validity.not_before)?, seconds(validity.not_after)?))
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
