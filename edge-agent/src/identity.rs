//! Who this node is: keys, certificate, and which package signatures count.
//!
//! Owns the files under `identity/` and `trust/`. Keys never leave the device and are readable by
//! their owner only. Written once by enrollment, as a whole directory that is renamed into place;
//! read at start. Who the node is stands in its certificate and nowhere else.

pub mod trust;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millwright_identity::{CertifiedKey, IdentityError, NodeIdentity, TimeFloor, TlsError};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::data_dir::{
    DataDirError, Layout, PRIVATE, READABLE, make_private_dir, replace_file, sync_parent,
};

const IDENTITY_KEY: &str = "identity.key";
const TLS_KEY: &str = "tls.key";
const CHAIN: &str = "chain.pem";
const ROOT: &str = "root.pem";
const NODE: &str = "node.json";

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
    /// The node's name; the certificate decides.
    pub node: String,
    /// Its site; the certificate decides.
    pub site: String,
    /// Unix seconds of enrollment: no certificate is judged at an earlier time, so that a device
    /// whose clock has stopped can still connect.
    pub enrolled_at: u64,
}

/// The identity of an enrolled node.
#[derive(Debug)]
pub struct StoredIdentity {
    /// Who it is.
    pub node: NodeIdentity,
    /// Where cloudcore was at enrollment.
    pub file: NodeFile,
    tls: Arc<rustls::ClientConfig>,
    validity: Option<(u64, u64)>,
}

impl StoredIdentity {
    /// Reads the identity below `layout`.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn load(layout: &Layout) -> Result<Self, StoredIdentityError> {
        let directory = layout.identity();
        if !directory.is_dir() {
            return Err(StoredIdentityError::Missing { path: directory });
        }
        let chain = certificates(&directory.join(CHAIN))?;
        let root = certificates(&directory.join(ROOT))?.swap_remove(0);
        let key_path = directory.join(TLS_KEY);
        let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?)
            .map_err(|error| damaged(&key_path, &error))?;
        let node_path = directory.join(NODE);
        let file: NodeFile = serde_json::from_slice(&read(&node_path)?)
            .map_err(|error| damaged(&node_path, &error))?;
        let node = NodeIdentity::from_certificate(&chain[0]).map_err(|source| {
            let path = directory.join(CHAIN);
            StoredIdentityError::Certificate { path, source }
        })?;
        let validity = millwright_identity::validity(&chain[0]);
        let own = CertifiedKey { chain, key };
        let mut tls =
            millwright_identity::rooted_client_config(root, Some(own)).map_err(|source| {
                StoredIdentityError::Tls {
                    path: directory,
                    source,
                }
            })?;
        tls.time_provider = Arc::new(TimeFloor::new(file.enrolled_at));
        let tls = Arc::new(tls);
        Ok(Self {
            node,
            file,
            tls,
            validity,
        })
    }

    /// From when to when its certificate is valid, in Unix seconds.
    #[must_use]
    pub fn validity(&self) -> Option<(u64, u64)> {
        self.validity
    }

    /// TLS settings for sessions with cloudcore; the caller sets ALPN on a copy.
    #[must_use]
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }
}

/// Everything enrollment brings, to be stored at once.
pub(crate) struct NewIdentity {
    /// PEM.
    pub(crate) identity_key: String,
    /// PEM.
    pub(crate) tls_key: String,
    /// PEM, leaf first.
    pub(crate) chain: String,
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
        let node = serde_json::to_vec_pretty(&self.file).expect("five plain fields are JSON");
        replace_file(
            &new.join(IDENTITY_KEY),
            self.identity_key.as_bytes(),
            PRIVATE,
        )?;
        replace_file(&new.join(TLS_KEY), self.tls_key.as_bytes(), PRIVATE)?;
        replace_file(&new.join(CHAIN), self.chain.as_bytes(), READABLE)?;
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
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
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
