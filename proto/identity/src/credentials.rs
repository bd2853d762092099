//! Certificates that are replaced while connections use them.
//!
//! TLS settings made from these follow every replacement: the next handshake shows the new certificate, and a live
//! connection is not touched. Remembered TLS sessions are dropped with the certificate they began with, else a
//! resumed one would go on standing for the old certificate, which is not shown and so not verified again.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::{DigitallySignedStruct, DistinguishedName, NamedGroup, SignatureScheme, sign};

use crate::tls::{CertifiedKey, TlsError, node_verifier, signing};

/// Servers a node remembers sessions of: cloudcore is one, under one name.
const CLIENT_SESSIONS_MAX: usize = 8;

/// TLS sessions cloudcore remembers. About 1.5 KiB each; a node whose session was forgotten shakes hands in full.
const SERVER_SESSIONS_MAX: usize = 4096;

/// What is replaced as one. The lock is held to copy or to swap a pointer, never while anything else happens.
#[derive(Debug)]
struct Held<T>(RwLock<Arc<T>>);

impl<T> Held<T> {
    fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    fn get(&self) -> Arc<T> {
        // Nothing panics while it is held; a poisoned one is still whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// The certificate of a node, for [`crate::node_client_config`].
#[derive(Debug)]
pub struct NodeCredentials(Held<Client>);

#[derive(Debug)]
struct Client {
    own: Arc<sign::CertifiedKey>,
    sessions: ClientSessionMemoryCache,
}

impl NodeCredentials {
    /// Begins with this certificate.
    ///
    /// # Errors
    /// When chain and key do not fit.
    pub fn new(own: CertifiedKey) -> Result<Self, TlsError> {
        Ok(Self(Held::new(Client::new(own)?)))
    }

    /// Shows another certificate from the next handshake on.
    ///
    /// # Errors
    /// When chain and key do not fit; the certificate before stays then.
    pub fn replace(&self, own: CertifiedKey) -> Result<(), TlsError> {
        self.0.set(Client::new(own)?);
        Ok(())
    }
}

impl Client {
    fn new(own: CertifiedKey) -> Result<Self, TlsError> {
        Ok(Self {
            own: signing(own)?,
            sessions: ClientSessionMemoryCache::new(CLIENT_SESSIONS_MAX),
        })
    }
}

impl ResolvesClientCert for NodeCredentials {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<sign::CertifiedKey>> {
        Some(Arc::clone(&self.0.get().own))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientSessionStore for NodeCredentials {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.0.get().sessions.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.get().sessions.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.get().sessions.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.get().sessions.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.0.get().sessions.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.get().sessions.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.get().sessions.take_tls13_ticket(server)
    }
}

/// The certificate of cloudcore and the CAs whose nodes it lets in, for [`crate::renewed_server_config`] and
/// [`crate::renewed_server_config_for_nodes`].
#[derive(Debug)]
pub struct ServerCredentials(Held<Server>);

#[derive(Debug)]
struct Server {
    own: Arc<sign::CertifiedKey>,
    nodes: Arc<dyn ClientCertVerifier>,
    sessions: Arc<ServerSessionMemoryCache>,
}

impl ServerCredentials {
    /// Begins with this certificate and these issuing CAs of nodes.
    ///
    /// # Errors
    /// When chain and key do not fit, or a CA cannot be used.
    pub fn new(own: CertifiedKey, node_cas: &[CertificateDer<'static>]) -> Result<Self, TlsError> {
        Ok(Self(Held::new(Server::new(own, node_cas)?)))
    }

    /// Shows another certificate, and lets in nodes of other CAs, from the next handshake on.
    ///
    /// # Errors
    /// When chain and key do not fit, or a CA cannot be used; everything stays as it was then.
    pub fn replace(
        &self,
        own: CertifiedKey,
        node_cas: &[CertificateDer<'static>],
    ) -> Result<(), TlsError> {
        self.0.set(Server::new(own, node_cas)?);
        Ok(())
    }
}

impl Server {
    fn new(own: CertifiedKey, node_cas: &[CertificateDer<'static>]) -> Result<Self, TlsError> {
        Ok(Self {
            own: signing(own)?,
            nodes: node_verifier(node_cas)?,
            sessions: ServerSessionMemoryCache::new(SERVER_SESSIONS_MAX),
        })
    }
}

impl ResolvesServerCert for ServerCredentials {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
        Some(Arc::clone(&self.0.get().own))
    }
}

impl StoresServerSessions for ServerCredentials {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.get().sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get().sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get().sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for ServerCredentials {
    // A node has one certificate, so naming the CAs would only make the handshake longer.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let nodes = Arc::clone(&self.0.get().nodes);
        nodes.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let nodes = Arc::clone(&self.0.get().nodes);
        nodes.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let nodes = Arc::clone(&self.0.get().nodes);
        nodes.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.get().nodes.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
