//! Who this node is: keys, certificate, and which package signatures count.
//!
//! Owns the files under `identity/` and `trust/`. Keys never leave the device and are readable by
//! their owner only. Written by enrollment, as a whole directory that is renamed into place, and read
//! at start. Who the node is stands in its certificate and nowhere else.
//!
//! The TLS key and its chain lie in one file, because they are renewed together: after a power cut at
//! any moment of a renewal or an enrollment there is the old identity or the new one, never neither
//! and never half of both. Asserted in `identity/tests.rs`, step by step.

pub mod trust;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millwright_identity::{
    CertificateError, CertifiedKey, IdentityError, NodeCredentials, NodeIdentity, TlsError,
    Validity,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::{FleetClock, Reading};
use crate::data_dir::{
    DataDirError, Layout, PRIVATE, READABLE, make_private_dir, replace_file, sync_parent,
};

const IDENTITY_KEY: &str = "identity.key";
/// TLS key, then the chain, leaf first.
const TLS: &str = "tls.pem";
const ROOT: &str = "root.pem";
const NODE: &str = "node.json";
const TIME_FLOOR: &str = "time-floor";

/// Why there is no usable identity.
#[derive(Debug, Error)]
pub enum StoredIdentityError {
    /// Never enrolled.
    #[error(
        "this machine is not enrolled ({path} does not exist): run `edge-agent enroll --cloud HOST:8443 --token TOKEN`, or serve one package without a cloud with `edge-agent run --model DIR`"
    )]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A file in it cannot be used.
    #[error("identity file {path} cannot be used ({problem}): enroll again with --force")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate names no node.
    #[error("the node certificate in {path} does not name a node")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: IdentityError,
    },
    /// The files do not make TLS settings.
    #[error("certificate, key and root in {path} do not fit: enroll again with --force")]
    Tls {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: TlsError,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    File(#[from] DataDirError),
}

/// What enrollment said beside the certificate, for people and for dialling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFile {
    /// `host:port` for QUIC; empty: not offered.
    pub quic: String,
    /// `host:port` for WebSocket; empty: not offered.
    pub websocket: String,
    /// `host:port` of the HTTPS endpoint it enrolled at, where certificates are renewed.
    pub cloud: String,
    /// The node's name; the certificate decides.
    pub node: String,
    /// Its site; the certificate decides.
    pub site: String,
    /// Unix seconds of enrollment by cloudcore's clock: no certificate is judged at an earlier time,
    /// so that a device whose clock has stopped can still connect.
    pub enrolled_at: u64,
}

/// The identity of an enrolled node.
#[derive(Debug)]
pub struct StoredIdentity {
    /// Who it is.
    pub node: NodeIdentity,
    /// Where cloudcore was at enrollment.
    pub file: NodeFile,
    /// From when to when its certificate was good when it was read; see [`crate::renew`] for now.
    pub validity: Validity,
    directory: PathBuf,
    root: CertificateDer<'static>,
    credentials: Arc<NodeCredentials>,
    clock: Arc<FleetClock>,
    tls: Arc<rustls::ClientConfig>,
}

impl StoredIdentity {
    /// Reads the identity below `layout`; its certificates are judged by this machine's clocks.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn load(layout: &Layout) -> Result<Self, StoredIdentityError> {
        Self::load_with(layout, Reading::of_system)
    }

    /// Reads the identity below `layout`; its certificates are judged by the clocks of `read`.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn load_with(
        layout: &Layout,
        read_clocks: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Result<Self, StoredIdentityError> {
        recover(layout)?;
        let directory = layout.identity();
        if !directory.is_dir() {
            return Err(StoredIdentityError::Missing { path: directory });
        }
        let tls_path = directory.join(TLS);
        let own = read_certified_key(&tls_path)?;
        let root = certificates(&directory.join(ROOT))?.swap_remove(0);
        let node_path = directory.join(NODE);
        let file: NodeFile = serde_json::from_slice(&read(&node_path)?)
            .map_err(|error| damaged(&node_path, &error))?;
        let node = NodeIdentity::from_certificate(&own.chain[0]).map_err(|source| {
            let path = tls_path.clone();
            StoredIdentityError::Certificate { path, source }
        })?;
        let validity = Validity::of_certificate(&own.chain[0])
            .map_err(|error: CertificateError| damaged(&tls_path, &error))?;
        let unfit = |source| StoredIdentityError::Tls {
            path: directory.clone(),
            source,
        };
        let credentials = Arc::new(NodeCredentials::new(own).map_err(unfit)?);
        let passed = [file.enrolled_at, validity.not_before];
        let clock = FleetClock::open(directory.join(TIME_FLOOR), passed, read_clocks);
        let clock = Arc::new(clock);
        let mut tls =
            millwright_identity::node_client_config(root.clone(), &credentials).map_err(unfit)?;
        tls.time_provider = Arc::<FleetClock>::clone(&clock);
        Ok(Self {
            node,
            file,
            validity,
            tls: Arc::new(tls),
            directory,
            root,
            credentials,
            clock,
        })
    }

    /// TLS settings for sessions with cloudcore; the caller sets ALPN on a copy. They and their copies
    /// follow every renewal.
    #[must_use]
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// TLS settings that show no certificate, for renewing one.
    ///
    /// # Errors
    /// When the root cannot be used.
    pub fn anonymous_tls(&self) -> Result<rustls::ClientConfig, TlsError> {
        let mut tls = millwright_identity::rooted_client_config(self.root.clone(), None)?;
        tls.time_provider = Arc::<FleetClock>::clone(&self.clock);
        Ok(tls)
    }

    /// The clock its certificates are judged by.
    #[must_use]
    pub fn clock(&self) -> Arc<FleetClock> {
        Arc::clone(&self.clock)
    }

    /// The key that proves who this node is, whatever became of its certificate.
    ///
    /// # Errors
    /// When its file cannot be used.
    pub(crate) fn identity_key(&self) -> Result<rcgen::KeyPair, StoredIdentityError> {
        let path = self.directory.join(IDENTITY_KEY);
        let pem = String::from_utf8(read(&path)?).map_err(|error| damaged(&path, &error))?;
        rcgen::KeyPair::from_pem(&pem).map_err(|error| damaged(&path, &error))
    }

    /// Puts a renewed certificate in the place of the one before: on the disk first, then into use. A disk that takes
    /// no writes does not keep it out of use: after a restart the identity key gets another one.
    pub(crate) fn renew(
        &self,
        key_pem: &str,
        chain: &[CertificateDer<'static>],
    ) -> Result<Kept, StoredIdentityError> {
        let text = tls_pem(key_pem, chain);
        let path = self.directory.join(TLS);
        let own = parse_certified_key(&path, text.as_bytes())?;
        // Refuses a chain that is not of this key before anything is written.
        let unfit = |source| StoredIdentityError::Tls {
            path: path.clone(),
            source,
        };
        NodeCredentials::new(own).map_err(unfit)?;
        let written = replace_file(&path, text.as_bytes(), PRIVATE);
        let own = parse_certified_key(&path, text.as_bytes())?;
        self.credentials.replace(own).map_err(unfit)?;
        Ok(match written {
            Ok(()) => Kept::OnDisk,
            Err(error) => Kept::InMemory(error),
        })
    }
}

/// Where a renewed certificate is.
#[derive(Debug)]
pub(crate) enum Kept {
    /// In use now and after a restart.
    OnDisk,
    /// In use until this process ends.
    InMemory(DataDirError),
}

/// Key and chain as they lie in one file.
pub(crate) fn tls_pem(key_pem: &str, chain: &[CertificateDer<'_>]) -> String {
    let chain = chain
        .iter()
        .map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec())));
    let mut text = key_pem.to_owned();
    text.extend(chain);
    text
}

fn read_certified_key(path: &Path) -> Result<CertifiedKey, StoredIdentityError> {
    parse_certified_key(path, &read(path)?)
}

fn parse_certified_key(path: &Path, pem: &[u8]) -> Result<CertifiedKey, StoredIdentityError> {
    Ok(CertifiedKey {
        chain: parse_certificates(path, pem)?,
        key: PrivateKeyDer::from_pem_slice(pem).map_err(|error| damaged(path, &error))?,
    })
}

/// Ends what a power cut left of an enrollment that replaced another: the identity before is put back when the new one
/// was not in place yet.
pub(crate) fn recover(layout: &Layout) -> Result<(), DataDirError> {
    let directory = layout.identity();
    let old = directory.with_extension("old");
    if directory.exists() || !old.exists() {
        return Ok(());
    }
    fs::rename(&old, &directory).map_err(failed("put back", &directory))?;
    sync_parent(&directory).map_err(failed("sync", &directory))
}

/// Everything enrollment brings, to be stored at once.
pub(crate) struct NewIdentity {
    /// PEM.
    pub(crate) identity_key: String,
    /// PEM: the TLS key and its chain, leaf first.
    pub(crate) tls: String,
    /// PEM.
    pub(crate) root: String,
    /// For dialling.
    pub(crate) file: NodeFile,
}

impl NewIdentity {
    /// Stores it: into a directory beside, synced, then renamed into place. An identity that was
    /// there before is moved aside first and deleted last.
    pub(crate) fn store(&self, layout: &Layout) -> Result<(), DataDirError> {
        let directory = layout.identity();
        let new = directory.with_extension("new");
        let old = directory.with_extension("old");
        remove_dir(&new)?;
        make_private_dir(&new).map_err(failed("create", &new))?;
        let node = serde_json::to_vec_pretty(&self.file).expect("plain fields are JSON");
        replace_file(
            &new.join(IDENTITY_KEY),
            self.identity_key.as_bytes(),
            PRIVATE,
        )?;
        replace_file(&new.join(TLS), self.tls.as_bytes(), PRIVATE)?;
        replace_file(&new.join(ROOT), self.root.as_bytes(), READABLE)?;
        replace_file(&new.join(NODE), &node, READABLE)?;
        remove_dir(&old)?;
        if directory.exists() {
            fs::rename(&directory, &old).map_err(failed("move aside", &directory))?;
        }
        fs::rename(&new, &directory).map_err(failed("put in place", &directory))?;
        sync_parent(&directory).map_err(failed("sync", &directory))?;
        remove_dir(&old)
    }
}

pub(crate) fn remove_dir(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("delete", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::File {
        operation,
        path,
        source,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StoredIdentityError> {
    fs::read(path).map_err(|error| damaged(path, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoredIdentityError> {
    parse_certificates(path, &read(path)?)
}

fn parse_certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, StoredIdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(damaged(path, &"it holds no certificate")),
        Err(error) => Err(damaged(path, &error)),
    }
}

fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> StoredIdentityError {
    StoredIdentityError::Damaged {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests;
