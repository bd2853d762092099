//! `edge-agent enroll`: this machine becomes a node of a fleet.
//!
//! ```text
//! token ─ root pin ─┐
//! keys made here ───┼─> POST /api/v1/enroll ─> certificate, root, addresses ─> identity/
//! CSR + proof ──────┘
//! ```
//!
//! Keys and uid are written to `identity.pending/` before they are sent: run again after a crash,
//! the same device asks for the same name with the same keys, so cloudcore can tell it from another
//! one. The identity appears as a whole or not at all.

mod keys;

use millwright_identity::{
    JoinToken, JoinTokenError, NodeIdentity, RootPin, Validity, pinned_client_config,
};
use millwright_proto::ids::NodeName;
use millwright_proto::link::{EnrollRequest, EnrollResponse};
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::config::{ConfigError, EnrollArguments, Place};
use crate::data_dir::{DataDir, DataDirError};
use crate::https::{self, Https};
use crate::identity::trust::{self, TrustError};
use crate::identity::{NewIdentity, NodeFile, recover, remove_dir, tls_pem};
use keys::PendingKeys;

pub use crate::https::RequestError;
pub use keys::KeysError;
pub(crate) use keys::certificate_request;

const PATH: &str = "/api/v1/enroll";

/// Why this machine was not enrolled.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// There is an identity already.
    #[error(
        "this machine is enrolled already ({path}): add --force to replace its identity, or choose another --data-dir"
    )]
    Exists {
        /// The identity.
        path: std::path::PathBuf,
    },
    /// The token is not one.
    #[error(transparent)]
    Token(#[from] JoinTokenError),
    /// The host's name is not a node name.
    #[error("the host name `{host}` is not a node name (a-z, 0-9 and -): choose one with --name")]
    HostName {
        /// The host's name.
        host: String,
    },
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A trust key cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Keys could not be made or read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Cloudcore was not reached or said no.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Cloudcore's answer does not fit the question.
    #[error("cloudcore's answer cannot be used: {0}")]
    Answer(String),
}

/// Enrolls this machine and returns who it is now.
///
/// # Errors
/// When any part of it fails; nothing is changed then, apart from keys kept for the next try.
pub async fn enroll(arguments: &EnrollArguments) -> Result<NodeIdentity, EnrollError> {
    let token: JoinToken = arguments.token.parse()?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let Place {
        data_dir,
        connector,
    } = arguments.node.clone().place()?;
    let data_dir = DataDir::open(&data_dir)?;
    let layout = data_dir.layout();
    recover(layout)?;
    if layout.identity().exists() && !arguments.force {
        return Err(EnrollError::Exists {
            path: layout.identity(),
        });
    }
    // Before anything is sent: a wrong file must not use up the token.
    trust::read(&arguments.trust_keys)?;
    let keys = PendingKeys::load_or_make(layout)?;
    let request = build_request(&token, &name, &keys, arguments)?;
    let tls = pinned_client_config(token.root_pin);
    let mut https = Https::connect(&connector, &arguments.cloud, tls).await?;
    let response: EnrollResponse = https.post(PATH, &request).await?;
    let identity = check(&response, token.root_pin, &keys)?;
    trust::install(layout, &arguments.trust_keys)?;
    new_identity(&response, &identity, &keys, &arguments.cloud).store(layout)?;
    remove_dir(&layout.identity_pending())?;
    Ok(identity)
}

fn host_name() -> Result<NodeName, EnrollError> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().to_lowercase();
    let first = host.split('.').next().unwrap_or_default();
    first
        .parse()
        .map_err(|_| EnrollError::HostName { host: host.clone() })
}

fn build_request(
    token: &JoinToken,
    name: &NodeName,
    keys: &PendingKeys,
    arguments: &EnrollArguments,
) -> Result<EnrollRequest, EnrollError> {
    let csr = keys.certificate_request()?;
    let labels = arguments.labels.iter();
    Ok(EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.expose().to_owned(),
        node: name.to_string(),
        node_uid: keys.uid().as_bytes().to_vec().into(),
        identity_public_key: keys.identity_public_key().into(),
        identity_proof: keys.proof(&csr)?.into(),
        csr: csr.into(),
        labels: labels
            .map(|label| (label.key.clone(), label.value.clone()))
            .collect(),
    })
}

/// The answer must be about this device and end at the root the token pins.
fn check(
    response: &EnrollResponse,
    pin: RootPin,
    keys: &PendingKeys,
) -> Result<NodeIdentity, EnrollError> {
    let unusable = |problem: &str| EnrollError::Answer(problem.to_owned());
    let leaf = response
        .certificate_chain
        .first()
        .ok_or_else(|| unusable("it holds no certificate"))?;
    let identity =
        NodeIdentity::from_certificate(leaf).map_err(|error| unusable(&error.to_string()))?;
    if identity.uid != keys.uid() {
        return Err(unusable("the certificate is for another device"));
    }
    match RootPin::of_certificate(&response.root) {
        Ok(root) if root == pin => Ok(identity),
        Ok(_) => Err(unusable("its root is not the one the join token pins")),
        Err(error) => Err(unusable(&error.to_string())),
    }
}

fn new_identity(
    response: &EnrollResponse,
    identity: &NodeIdentity,
    keys: &PendingKeys,
    cloud: &str,
) -> NewIdentity {
    let chain: Vec<CertificateDer<'_>> = response
        .certificate_chain
        .iter()
        .map(|der| CertificateDer::from(&der[..]))
        .collect();
    // The beginning of the certificate is cloudcore's time; this device's own clock may be dead.
    let leaf = chain.first();
    let validity = leaf.and_then(|leaf| Validity::of_certificate(leaf).ok());
    NewIdentity {
        identity_key: keys.identity_pem().to_owned(),
        tls: tls_pem(keys.tls_pem(), &chain),
        root: pem::encode(&pem::Pem::new("CERTIFICATE", &response.root[..])),
        file: NodeFile {
            quic: reachable(&response.quic_address, cloud),
            websocket: reachable(&response.websocket_address, cloud),
            cloud: cloud.to_owned(),
            node: identity.node.to_string(),
            site: identity.site.to_string(),
            enrolled_at: validity.map_or(0, |validity| validity.not_before),
        },
    }
}

/// An address without a host (`:10002`) or with an unspecified one is on the host that answered.
fn reachable(address: &str, cloud: &str) -> String {
    let unspecified = ["", "0.0.0.0", "[::]"];
    match (address.rsplit_once(':'), https::split(cloud)) {
        (Some((host, port)), Ok((cloud_host, _))) if unspecified.contains(&host) => {
            format!("{cloud_host}:{port}")
        }
        (Some(_) | None, _) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests;
