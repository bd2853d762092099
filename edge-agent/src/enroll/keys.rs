//! The keys and the uid a device makes for itself, kept until cloudcore has answered.

use std::path::{Path, PathBuf};

use millwright_proto::ids::NodeUid;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData, SigningKey};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::data_dir::{
    DataDirError, Layout, PRIVATE, make_private_dir, read_if_present, replace_file,
};

const IDENTITY_KEY: &str = "identity.key";
const TLS_KEY: &str = "tls.key";
const UID: &str = "uid";

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeysError {
    /// A key could not be made or used.
    #[error("cannot {0}")]
    Key(&'static str, #[source] rcgen::Error),
    /// No random numbers.
    #[error("the system gives no random bytes for the node's uid")]
    Random,
    /// A kept file is damaged.
    #[error("{path} is damaged: delete it and enroll again")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] DataDirError),
}

/// Keys and uid of an enrollment under way.
pub(super) struct PendingKeys {
    uid: NodeUid,
    identity: KeyPair,
    identity_pem: String,
    tls: KeyPair,
    tls_pem: String,
}

impl PendingKeys {
    /// Those of an enrollment that was cut off, else new ones, stored before they are returned.
    pub(super) fn load_or_make(layout: &Layout) -> Result<Self, KeysError> {
        let directory = layout.identity_pending();
        make_private_dir(&directory).map_err(|source| DataDirError::File {
            operation: "create",
            path: directory.clone(),
            source,
        })?;
        let (identity, identity_pem) = load_or_make_key(&directory.join(IDENTITY_KEY))?;
        let (tls, tls_pem) = load_or_make_key(&directory.join(TLS_KEY))?;
        let uid = load_or_make_uid(&directory.join(UID))?;
        Ok(Self {
            uid,
            identity,
            identity_pem,
            tls,
            tls_pem,
        })
    }

    pub(super) fn uid(&self) -> NodeUid {
        self.uid
    }

    pub(super) fn identity_pem(&self) -> &str {
        &self.identity_pem
    }

    pub(super) fn tls_pem(&self) -> &str {
        &self.tls_pem
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub(super) fn identity_public_key(&self) -> Vec<u8> {
        self.identity.subject_public_key_info()
    }

    /// A PKCS#10 request for the TLS key, DER.
    pub(super) fn certificate_request(&self) -> Result<Vec<u8>, KeysError> {
        certificate_request(self.uid, &self.tls)
            .map_err(|error| KeysError::Key("make a certificate request", error))
    }

    /// The identity key's signature over `csr`: who holds it asks for this certificate.
    pub(super) fn proof(&self, csr: &[u8]) -> Result<Vec<u8>, KeysError> {
        self.identity
            .sign(csr)
            .map_err(|error| KeysError::Key("sign with the identity key", error))
    }
}

/// A PKCS#10 request for `key`, DER. Its names do not matter: cloudcore decides them.
pub(crate) fn certificate_request(uid: NodeUid, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, uid.to_string());
    Ok(params.serialize_request(key)?.der().to_vec())
}

fn load_or_make_key(path: &Path) -> Result<(KeyPair, String), KeysError> {
    if let Some(bytes) = read_if_present(path)? {
        let damaged = || KeysError::Damaged {
            path: path.to_owned(),
        };
        let pem = String::from_utf8(bytes).map_err(|_| damaged())?;
        let key = KeyPair::from_pem(&pem).map_err(|_| damaged())?;
        return Ok((key, pem));
    }
    let key = KeyPair::generate().map_err(|error| KeysError::Key("make a key", error))?;
    let pem = key.serialize_pem();
    replace_file(path, pem.as_bytes(), PRIVATE)?;
    Ok((key, pem))
}

fn load_or_make_uid(path: &Path) -> Result<NodeUid, KeysError> {
    if let Some(bytes) = read_if_present(path)? {
        let damaged = || KeysError::Damaged {
            path: path.to_owned(),
        };
        return bytes.as_slice().try_into().map_err(|_| damaged());
    }
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KeysError::Random)?;
    replace_file(path, &bytes, PRIVATE)?;
    Ok(NodeUid::from_bytes(bytes))
}
