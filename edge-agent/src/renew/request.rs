//! One renewal with cloudcore: two requests, one new certificate.

use millwright_identity::{NodeIdentity, Validity, renewal_statement};
use millwright_proto::link::{RenewRequest, RenewResponse, renew_response};
use rcgen::{KeyPair, SigningKey as _};
use rustls_pki_types::CertificateDer;

use super::RenewError;
use crate::connect::Connector;
use crate::enroll::certificate_request;
use crate::https::Https;
use crate::identity::{Kept, StoredIdentity};

const PATH: &str = "/api/v1/renew";

/// Gets a new certificate and puts it into use; returns how long it is good, and where it is.
pub(super) async fn renew(
    identity: &StoredIdentity,
    connector: &Connector,
    cloud: &str,
) -> Result<(Validity, Kept), RenewError> {
    let identity_key = identity.identity_key()?;
    let tls_key =
        KeyPair::generate().map_err(|error| RenewError::Key("make a new TLS key", error))?;
    let uid = identity.node.uid;
    let csr = certificate_request(uid, &tls_key)
        .map_err(|error| RenewError::Key("make a certificate request", error))?;

    let mut https = Https::connect(connector, cloud, identity.anonymous_tls()?).await?;
    let mut request = RenewRequest {
        node_uid: uid.as_bytes().to_vec().into(),
        ..RenewRequest::default()
    };
    let renew_response::Body::Challenge(challenge) = ask(&mut https, identity, &request).await?
    else {
        return Err(RenewError::Answer(
            "it is a certificate where a challenge was asked for".to_owned(),
        ));
    };
    let statement = renewal_statement(uid, &challenge, &csr);
    let proof = identity_key
        .sign(&statement)
        .map_err(|error| RenewError::Key("sign with the identity key", error))?;
    request.challenge = challenge;
    request.csr = csr.into();
    request.identity_proof = proof.into();
    let renew_response::Body::Certificate(renewed) = ask(&mut https, identity, &request).await?
    else {
        return Err(RenewError::Answer(
            "it is another challenge where a certificate was asked for".to_owned(),
        ));
    };
    let chain: Vec<CertificateDer<'static>> = renewed
        .chain
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let validity = check(identity, &chain)?;
    let kept = identity.renew(&tls_key.serialize_pem(), &chain)?;
    Ok((validity, kept))
}

/// Sends one request. The answer tells the time: over TLS with the fleet's root, so it is cloudcore that says it.
async fn ask(
    https: &mut Https,
    identity: &StoredIdentity,
    request: &RenewRequest,
) -> Result<renew_response::Body, RenewError> {
    let response: RenewResponse = https.post(PATH, request).await?;
    if response.server_time_ms > 0 {
        identity.clock().told(response.server_time_ms);
    }
    response
        .body
        .ok_or_else(|| RenewError::Answer("it is one this agent does not know".to_owned()))
}

/// The certificate must be for this device; site and name may have changed by it.
fn check(
    identity: &StoredIdentity,
    chain: &[CertificateDer<'static>],
) -> Result<Validity, RenewError> {
    let leaf = chain
        .first()
        .ok_or_else(|| RenewError::Answer("it holds no certificate".to_owned()))?;
    let named = NodeIdentity::from_certificate(leaf)?;
    if named.uid != identity.node.uid || named.fleet != identity.node.fleet {
        let problem = "the certificate is for another device".to_owned();
        return Err(RenewError::Answer(problem));
    }
    Validity::of_certificate(leaf).map_err(|error| RenewError::Answer(error.to_string()))
}
