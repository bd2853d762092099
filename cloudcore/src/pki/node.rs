//! Certificates of nodes.

use std::time::Duration;

use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::authority::{blank_params, set_validity};
use super::{Authority, PkiError};

/// How long a node certificate is good. A node that was offline for a season still gets in.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

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
        let expires = set_validity(&mut params, now, LIFETIME);
        let serial = params
            .serial_number
            .as_ref()
            .map(rcgen::SerialNumber::to_bytes);
        let certificate = params
            .signed_by(&csr.public_key, &self.nodes.issuer)
            .map_err(made)?;
        Ok(NodeCertificate {
            chain: vec![certificate.der().clone(), self.nodes.certificate.clone()],
            serial: serial.unwrap_or_default(),
            expires,
        })
    }
}
