//! Certificates that are replaced while connections use them.
//!
//! TLS settings made from these follow every replacement: the next handshake shows the new certificate, and a live
//! connection is not touched. Remembered TLS sessions are dropped with the certificate they began with, else a
//! resumed one would go on standing for the old certificate, which is not shown and so not verified again. Cloudcore
//! remembers none: nodes carry theirs as tickets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::{DigitallySignedStruct, DistinguishedName, NamedGroup, SignatureScheme, sign};

use crate::tickets::{TICKET_LIFE_S, TicketSecrets, Tickets};
use crate::tls::{CertifiedKey, TlsError, node_verifier, signing};

/// Servers a node remembers sessions of: cloudcore is one, under one name.
const CLIENT_SESSIONS_MAX: usize = 8;

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

/// The certificate of cloudcore, the CAs whose nodes it lets in, and what their tickets are sealed with, for
/// [`crate::renewed_server_config`] and [`crate::renewed_server_config_for_nodes`].
#[derive(Debug)]
pub struct ServerCredentials {
    held: Held<Server>,
    resumed: AtomicU64,
}

#[derive(Debug)]
struct Server {
    own: Arc<sign::CertifiedKey>,
    nodes: Arc<dyn ClientCertVerifier>,
    tickets: Tickets,
}

impl ServerCredentials {
    /// Begins with this certificate and these issuing CAs of nodes.
    ///
    /// # Errors
    /// When chain and key do not fit, or a CA cannot be used.
    pub fn new(
        own: CertifiedKey,
        node_cas: &[CertificateDer<'static>],
        secrets: &TicketSecrets,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            held: Held::new(Server::new(own, node_cas, secrets)?),
            resumed: AtomicU64::new(0),
        })
    }

    /// Shows another certificate, and lets in nodes of other CAs, from the next handshake on.
    ///
    /// # Errors
    /// When chain and key do not fit, or a CA cannot be used; everything stays as it was then.
    pub fn replace(
        &self,
        own: CertifiedKey,
        node_cas: &[CertificateDer<'static>],
        secrets: &TicketSecrets,
    ) -> Result<(), TlsError> {
        self.held.set(Server::new(own, node_cas, secrets)?);
        Ok(())
    }

    /// How many sessions were resumed by a ticket since the start.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }
}

impl Server {
    fn new(
        own: CertifiedKey,
        node_cas: &[CertificateDer<'static>],
        secrets: &TicketSecrets,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            own: signing(own)?,
            nodes: node_verifier(node_cas)?,
            tickets: Tickets::new(secrets, node_cas),
        })
    }
}

impl ResolvesServerCert for ServerCredentials {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
        Some(Arc::clone(&self.held.get().own))
    }
}

impl ProducesTickets for ServerCredentials {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFE_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.held.get().tickets.seal(plain, UnixTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let session = self.held.get().tickets.open(cipher, UnixTime::now())?;
        self.resumed.fetch_add(1, Ordering::Relaxed);
        Some(session)
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
        let nodes = Arc::clone(&self.held.get().nodes);
        nodes.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let nodes = Arc::clone(&self.held.get().nodes);
        nodes.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let nodes = Arc::clone(&self.held.get().nodes);
        nodes.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.held.get().nodes.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
