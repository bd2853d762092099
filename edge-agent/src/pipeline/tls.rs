//! How cameras, brokers and web servers of a plant prove who they are, and passwords for them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// Largest file with a password or token, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// Why a file a pipeline names cannot be used.
#[derive(Debug, Error)]
pub(super) enum SecretError {
    #[error("cannot read {path}: {source}; give the user that runs edge-agent this file")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0} is empty or too long for a password: write it on one line")]
    Form(PathBuf),
    #[error("{path} holds no certificate that can be used (PEM): {problem}")]
    Certificate { path: PathBuf, problem: String },
    #[error(
        "this machine knows no certificate authority: install ca-certificates, or name the one to trust with `caFile`"
    )]
    NoRoots,
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The one line of a file.
pub(super) fn secret(path: &str) -> Result<String, SecretError> {
    let path = PathBuf::from(path);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(SecretError::Read { path, source }),
    };
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.len() > SECRET_BYTES_MAX || line.contains(['\r', '\n']) {
        return Err(SecretError::Form(path));
    }
    Ok(line.to_owned())
}

/// Whom to trust: what is in `ca_file`, else what this machine trusts.
pub(super) fn client(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, SecretError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unfit = |problem: String| SecretError::Certificate {
                path: PathBuf::from(path),
                problem,
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unfit(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unfit(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| unfit(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unfit("there is none in it".to_owned()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(SecretError::NoRoots);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
