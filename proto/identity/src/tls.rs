//! TLS settings of both ends: TLS 1.3 only, the ring provider, resumption but no early data.
//!
//! ALPN is left to the caller, who knows what it speaks on the connection.

use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, sign};
use thiserror::Error;

use crate::credentials::{NodeCredentials, ServerCredentials};
use crate::pin::RootPin;
use crate::verifier::{CloudVerifier, Trust};

/// Tickets for one session: a node comes back with one and gets the next. A packet each.
const TICKETS_EACH: usize = 1;

/// A certificate chain, leaf first, with the leaf's private key.
#[derive(Debug)]
pub struct CertifiedKey {
    /// DER, leaf first. A server that pinning clients dial sends the root too, as the last one.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

/// Why TLS settings could not be made. Says which certificate is at fault.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The root cannot be used as a trust anchor.
    #[error("the root certificate of the fleet cannot be used")]
    Root(#[source] rustls::Error),
    /// The CA of the nodes cannot be used as a trust anchor.
    #[error("the certificate of the nodes' issuing CA cannot be used")]
    NodeCa(#[source] rustls::Error),
    /// No verifier for node certificates.
    #[error("cannot verify node certificates with the nodes' issuing CA")]
    NodeVerifier(#[source] rustls::server::VerifierBuilderError),
    /// A chain and a key that do not belong together, or an unusable key.
    #[error("the certificate chain and its private key cannot be used together")]
    Key(#[source] rustls::Error),
}

/// [`crate::SERVER_NAME`] in the form rustls asks for when it dials.
#[must_use]
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(crate::SERVER_NAME).expect("the constant is a DNS name")
}

/// Settings for first contact, when only the pin is known: enrollment, and `login --ca-pin`.
#[must_use]
pub fn pinned_client_config(pin: RootPin) -> ClientConfig {
    verifying(Trust::Pin(pin)).with_no_client_auth()
}

/// Settings for a client that holds the fleet's root; with `client` for mutual TLS.
///
/// The clock is the system's; a node that knows better sets `ClientConfig::time_provider`.
///
/// # Errors
/// When the root is no certificate, or the client's chain and key do not fit.
pub fn rooted_client_config(
    root: CertificateDer<'static>,
    client: Option<CertifiedKey>,
) -> Result<ClientConfig, TlsError> {
    // Found wrong here and not at the first handshake.
    anchors(root.clone()).map_err(TlsError::Root)?;
    let builder = verifying(Trust::Root(root));
    match client {
        None => Ok(builder.with_no_client_auth()),
        Some(client) => builder
            .with_client_auth_cert(client.chain, client.key)
            .map_err(TlsError::Key),
    }
}

/// Settings of a node: those of [`rooted_client_config`], with a certificate that may be replaced while they are in
/// use. Copies of the settings follow it.
///
/// # Errors
/// When the root is no certificate.
pub fn node_client_config(
    root: CertificateDer<'static>,
    own: &Arc<NodeCredentials>,
) -> Result<ClientConfig, TlsError> {
    anchors(root.clone()).map_err(TlsError::Root)?;
    let resolver: Arc<dyn ResolvesClientCert> = Arc::<NodeCredentials>::clone(own);
    let mut config = verifying(Trust::Root(root)).with_client_cert_resolver(resolver);
    config.resumption = Resumption::store(Arc::<NodeCredentials>::clone(own));
    Ok(config)
}

/// Settings like those of [`server_config`], with a certificate that may be replaced while they are in use.
#[must_use]
pub fn renewed_server_config(own: &Arc<ServerCredentials>) -> ServerConfig {
    server_builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::<ServerCredentials>::clone(own))
}

/// Settings like those of [`server_config_for_nodes`], with certificates that may be replaced while they are in use.
#[must_use]
pub fn renewed_server_config_for_nodes(own: &Arc<ServerCredentials>) -> ServerConfig {
    let mut config = server_builder()
        .with_client_cert_verifier(Arc::<ServerCredentials>::clone(own))
        .with_cert_resolver(Arc::<ServerCredentials>::clone(own));
    config.ticketer = Arc::<ServerCredentials>::clone(own);
    config.send_tls13_tickets = TICKETS_EACH;
    config
}

/// Settings of a server that asks clients for no certificate: the public API and enrollment.
///
/// # Errors
/// When chain and key do not fit.
pub fn server_config(own: CertifiedKey) -> Result<ServerConfig, TlsError> {
    server_builder()
        .with_no_client_auth()
        .with_single_cert(own.chain, own.key)
        .map_err(TlsError::Key)
}

/// Settings of a server that only nodes may connect to: their certificates must be issued by
/// `node_ca` for client authentication. Whom one names is read with
/// [`crate::NodeIdentity::from_certificate`].
///
/// `node_ca` is the nodes' issuing CA itself, not the root: what the other CAs issue is no node.
///
/// # Errors
/// When the CA cannot be used, or chain and key do not fit.
pub fn server_config_for_nodes(
    own: CertifiedKey,
    node_ca: CertificateDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let verifier = node_verifier(&[node_ca])?;
    server_builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(own.chain, own.key)
        .map_err(TlsError::Key)
}

/// Accepts what any of these CAs issued for client authentication.
pub(crate) fn node_verifier(
    node_cas: &[CertificateDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut anchors = RootCertStore::empty();
    for ca in node_cas {
        anchors.add(ca.clone()).map_err(TlsError::NodeCa)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider())
        .build()
        .map_err(TlsError::NodeVerifier)
}

/// Chain and key as rustls signs with them.
pub(crate) fn signing(own: CertifiedKey) -> Result<Arc<sign::CertifiedKey>, TlsError> {
    let key = sign::CertifiedKey::from_der(own.chain, own.key, &provider());
    key.map(Arc::new).map_err(TlsError::Key)
}

/// AES-128 with SHA-256 first: its key schedule runs on instructions that processors have, that of the others' SHA-384
/// in software takes a tenth of a handshake.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    let others = |suite: &rustls::SupportedCipherSuite| *suite != TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.retain(others);
    provider.cipher_suites.insert(0, TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn anchors(certificate: CertificateDer<'static>) -> Result<RootCertStore, rustls::Error> {
    let mut anchors = RootCertStore::empty();
    anchors.add(certificate)?;
    Ok(anchors)
}

fn verifying(trust: Trust) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = provider();
    let verifier = CloudVerifier::new(trust, provider.signature_verification_algorithms);
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the ring provider has TLS 1.3 cipher suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

fn server_builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the ring provider has TLS 1.3 cipher suites")
}

#[cfg(test)]
mod tests;
