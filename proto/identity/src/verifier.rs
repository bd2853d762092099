//! How a client decides that it talks to its own cloudcore.
//!
//! Standard path building (webpki, through rustls) with two differences, both stricter about names
//! and both needed on a device: the name asked for is always [`crate::SERVER_NAME`], and the only
//! trust anchor is the fleet's root, known by its certificate or, before enrollment, by its pin.
//!
//! With a pin the root comes from the peer, so nothing in it is believed but the key: the
//! certificate must carry the pinned key and be signed by it, else somebody could wrap the key in
//! a certificate with other constraints. The root's own end of validity is not judged (RFC 5280
//! section 6.1 gives a trust anchor none); the other certificates are judged at the later of the
//! clock and their own beginning, so that a device with a dead clock still connects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use thiserror::Error;

use crate::certificate;
use crate::pin::RootPin;

/// Longest chain looked at besides the leaf. cloudcore sends two: its issuing CA and the root.
const CHAIN_LENGTH_MAX: usize = 4;

/// What a client knows of its fleet's root.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Before enrollment: the hash of its key.
    Pin(RootPin),
    /// After enrollment: its certificate.
    Root(CertificateDer<'static>),
}

/// Verifies cloudcore's certificate.
#[derive(Debug)]
pub(crate) struct CloudVerifier {
    trust: Trust,
    name: ServerName<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why a chain does not lead to the pinned root.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ChainError {
    #[error(
        "the server sent {0} certificates besides its own, over the limit of {CHAIN_LENGTH_MAX}"
    )]
    TooLong(usize),
    #[error(
        "no certificate of the server has the pinned root key {pin}; it sent {sent}: either this is another cloudcore, or the pin is an old one"
    )]
    PinAbsent { pin: RootPin, sent: Sent },
    #[error(
        "the certificate with the pinned root key {0} is not a CA certificate signed by that key"
    )]
    NotARoot(RootPin),
}

/// The pins of what a server sent instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent(Vec<RootPin>);

impl CloudVerifier {
    pub(crate) fn new(trust: Trust, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            trust,
            name: crate::server_name(),
            algorithms,
        }
    }

    fn root(&self, chain: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, ChainError> {
        match &self.trust {
            Trust::Root(root) => Ok(root.clone()),
            Trust::Pin(pin) => pinned_root(*pin, chain),
        }
    }
}

fn pinned_root(
    pin: RootPin,
    chain: &[CertificateDer<'_>],
) -> Result<CertificateDer<'static>, ChainError> {
    let pins = chain
        .iter()
        .filter_map(|der| Some((RootPin::of_certificate(der).ok()?, der)));
    let Some((_, root)) = pins.clone().find(|(found, _)| *found == pin) else {
        return Err(ChainError::PinAbsent {
            pin,
            sent: Sent(pins.map(|(found, _)| found).collect()),
        });
    };
    let parsed = certificate::parse(root).map_err(|_| ChainError::NotARoot(pin))?;
    if parsed.is_ca() && parsed.verify_signature(None).is_ok() {
        Ok(root.clone().into_owned())
    } else {
        Err(ChainError::NotARoot(pin))
    }
}

/// The later of the clock and the beginning of every certificate shown.
fn judged_at(now: UnixTime, certificates: &[&CertificateDer<'_>]) -> UnixTime {
    let begun = certificates
        .iter()
        .filter_map(|der| certificate::parse(der).ok())
        .filter_map(|parsed| u64::try_from(parsed.validity().not_before.timestamp()).ok())
        .max()
        .unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(begun)))
}

impl ServerCertVerifier for CloudVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // Whatever was dialled, the name to prove is the constant one.
        _dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if intermediates.len() > CHAIN_LENGTH_MAX {
            return Err(ChainError::TooLong(intermediates.len()).into());
        }
        let root = self.root(intermediates)?;
        let between: Vec<CertificateDer<'_>> = intermediates
            .iter()
            .filter(|der| **der != root)
            .cloned()
            .collect();
        let mut shown: Vec<&CertificateDer<'_>> = between.iter().collect();
        shown.push(end_entity);
        let now = judged_at(now, &shown);

        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &roots,
            &between,
            now,
            self.algorithms.all,
        )?;
        verify_server_name(&leaf, &self.name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl From<ChainError> for rustls::Error {
    fn from(error: ChainError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none besides its own");
        }
        for (index, pin) in self.0.iter().enumerate() {
            write!(f, "{}{pin}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
