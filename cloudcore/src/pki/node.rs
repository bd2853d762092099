//! Certificates of nodes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::authority::{blank_params, set_validity};
use super::{Authority, PkiError};

/// How long a node certificate is good when nobody says otherwise: nodes renew at two thirds, so an outage of ten days
/// costs nothing, and one of any length only a renewal by the identity key.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Shorter, and nodes would do little else than renew. Minutes and less are for trying it out.
const LIFETIME_MIN: Duration = Duration::from_secs(5);

/// Longer, and the certificate is not short-lived: an older one would be accepted longer than its issuing CA is sure
/// to last, which is signed anew in its last year.
const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long certificates of nodes are good. Written `30d`, `12h`, `90m` or `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Lifetime(Duration);

/// A text that is no lifetime.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a certificate's lifetime is between 5s and 365d, written 30d, 12h, 90m or 30s")]
pub(crate) struct LifetimeError;

impl Lifetime {
    pub(crate) const fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self(LIFETIME)
    }
}

/// Units of a lifetime in seconds, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        let read = UNITS.iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*seconds).map(Duration::from_secs)
        });
        read.filter(|lifetime| (LIFETIME_MIN..=LIFETIME_MAX).contains(lifetime))
            .map(Self)
            .ok_or(LifetimeError)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let largest = UNITS.iter().find(|(_, unit)| seconds.is_multiple_of(*unit));
        let (name, unit) = largest.copied().unwrap_or(("s", 1));
        write!(f, "{}{name}", seconds / unit)
    }
}

impl TryFrom<String> for Lifetime {
    type Error = LifetimeError;

    fn try_from(text: String) -> Result<Self, LifetimeError> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

/// What enrollment hands to a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeCertificate {
    /// Leaf, issuing CA.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Serial number of the leaf.
    pub(crate) serial: Vec<u8>,
    /// When the leaf ends.
    pub(crate) expires: Timestamp,
}

impl Authority {
    /// Signs the key of `csr` (PKCS#10 DER) for `node`. The names in the CSR are ignored.
    ///
    /// # Errors
    /// When the CSR does not parse, its signature is wrong, or its key is not ECDSA P-256.
    pub(crate) fn sign_node(
        &self,
        node: &NodeIdentity,
        csr: &[u8],
        lifetime: Lifetime,
        now: Timestamp,
    ) -> Result<NodeCertificate, PkiError> {
        let der = CertificateSigningRequestDer::from(csr);
        let csr = CertificateSigningRequestParams::from_der(&der).map_err(PkiError::Request)?;
        if csr.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::RequestKey);
        }
        let made = |source| PkiError::Make {
            what: "node certificate",
            source,
        };
        let spiffe_id = node.spiffe_id().try_into().map_err(made)?;
        let mut params = blank_params(&node.uid.to_string())?;
        params.subject_alt_names = vec![SanType::URI(spiffe_id)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Server too: nodes of one site serve blobs to each other.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let expires = set_validity(&mut params, now, lifetime.0);
        let serial = params
            .serial_number
            .as_ref()
            .map(rcgen::SerialNumber::to_bytes);
        let certificate = params
            .signed_by(&csr.public_key, &self.nodes.active.issuer)
            .map_err(made)?;
        Ok(NodeCertificate {
            chain: vec![
                certificate.der().clone(),
                self.nodes.active.certificate.clone(),
            ],
            serial: serial.unwrap_or_default(),
            expires,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_written_as_it_is_read_and_bounded() {
        for text in ["30d", "12h", "90m", "45s", "365d", "5s"] {
            assert_eq!(text.parse::<Lifetime>().unwrap().to_string(), text);
        }
        assert_eq!(Lifetime::default().to_string(), "30d");
        let wrong = [
            "",
            "d",
            "30",
            "4s",
            "366d",
            "-1d",
            "1.5d",
            "30 d",
            "1w",
            "18446744073709551615d",
        ];
        for text in wrong {
            assert_eq!(text.parse::<Lifetime>(), Err(LifetimeError), "{text}");
        }
    }
}
