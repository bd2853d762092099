//! The authority and the server's certificate while the server runs.
//!
//! Looked at again and again: the certificate is renewed before its end, and what `cloudcore ca rotate` wrote is taken
//! over. Listeners follow by themselves ([`ServerCredentials`]); connections that exist are not touched. When a file
//! cannot be used, everything stays as it was, and that is said in the log, once per kind of fault.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use millwright_identity::{ServerCredentials, TicketSecrets, TrustDomain};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::server::ServerIdentity;
use super::{Authority, PkiError, tickets};
use crate::signals::draining;

/// How often it is looked at. Seven small files; a person who rotated wants to see it done.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is replaced as one.
struct Current {
    authority: Arc<Authority>,
    server: ServerIdentity,
    node_cas: Vec<CertificateDer<'static>>,
    tickets: TicketSecrets,
}

/// See the module. Share it in the `App`.
pub(crate) struct Pki {
    directory: PathBuf,
    fleet: TrustDomain,
    public_names: Vec<String>,
    /// Owned by this type; held to copy or to swap a pointer.
    current: RwLock<Current>,
    credentials: Arc<ServerCredentials>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki")
            .field("directory", &self.directory)
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

impl Pki {
    /// Opens the authority in `directory` for the server `public_names`, making what is missing.
    ///
    /// # Errors
    /// When a file is damaged, missing beside the others, or cannot be written; when a name is none.
    pub(crate) fn open(
        directory: &Path,
        fleet: &TrustDomain,
        public_names: &[String],
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let current = Current::open(directory, fleet, public_names, now)?;
        let own = current.server.certified_key();
        let credentials = ServerCredentials::new(own, &current.node_cas, &current.tickets)?;
        Ok(Self {
            directory: directory.to_owned(),
            fleet: fleet.clone(),
            public_names: public_names.to_owned(),
            current: RwLock::new(current),
            credentials: Arc::new(credentials),
        })
    }

    /// Looks again; returns whether anything is another than before.
    ///
    /// # Errors
    /// As [`Pki::open`]; nothing has changed then.
    pub(crate) fn refresh(&self, now: Timestamp) -> Result<bool, PkiError> {
        let fresh = Current::open(&self.directory, &self.fleet, &self.public_names, now)?;
        let (same, same_tickets) = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            let same = current.server.is_same(&fresh.server) && current.node_cas == fresh.node_cas;
            (same, current.tickets == fresh.tickets)
        };
        if same && same_tickets {
            return Ok(false);
        }
        let own = fresh.server.certified_key();
        self.credentials
            .replace(own, &fresh.node_cas, &fresh.tickets)?;
        if same {
            self.take(fresh);
            return Ok(true);
        }
        tracing::info!(
            server_certificate_ends = %fresh.server.expires, node_cas = fresh.node_cas.len(),
            "new certificates are in use; sessions go on"
        );
        self.take(fresh);
        Ok(true)
    }

    fn take(&self, fresh: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// What signs now.
    pub(crate) fn authority(&self) -> Arc<Authority> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.authority)
    }

    /// When the server's certificate ends.
    pub(crate) fn server_expires(&self) -> Timestamp {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.server.expires
    }

    /// The SPIFFE trust domain.
    pub(crate) const fn fleet(&self) -> &TrustDomain {
        &self.fleet
    }

    /// For TLS settings, which follow every change.
    pub(crate) const fn credentials(&self) -> &Arc<ServerCredentials> {
        &self.credentials
    }

    /// Looks again and again until the server drains.
    pub(crate) async fn keep(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = draining(&mut shutdown) => return,
            }
            let pki = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || pki.refresh(Timestamp::now())).await;
            let fault = match looked {
                Ok(Ok(_)) => String::new(),
                Ok(Err(fault)) => format!("{:#}", anyhow::Error::new(fault)),
                Err(panicked) => panicked.to_string(),
            };
            if !fault.is_empty() && fault != told {
                tracing::error!("certificates stay as they are: {fault}");
            }
            told = fault;
        }
    }
}

impl Current {
    fn open(
        directory: &Path,
        fleet: &TrustDomain,
        public_names: &[String],
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let authority = Authority::open(directory, fleet, now)?;
        Ok(Self {
            server: authority.server(public_names, now)?,
            node_cas: authority.node_cas(now),
            tickets: tickets::secrets(directory, now)?,
            authority: Arc::new(authority),
        })
    }
}
