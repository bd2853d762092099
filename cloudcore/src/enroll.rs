//! Enrollment: a device with a join token becomes a node with a certificate.
//!
//! Everything is decided in one write transaction: token, name, certificate, node, audit and event
//! come into being together or not at all, so a token with one use lets one device in, however many
//! ask at once. The device proves that it holds both keys: its CSR is self-signed by the TLS key, and
//! the identity key signed the CSR. Names in the CSR count for nothing; the token says the site.
//!
//! A device that never heard our answer asks again with the same uid, name and identity key: it gets a new
//! certificate, and the token is not used a second time.
//!
//! A refused attempt changes nothing but the audit trail, bounded by [`crate::auth::Refusals`].

use std::collections::BTreeMap;

use fleet_api::{JoinToken, Metadata, Node, NodePhase, NodeSpec, NodeStatus, Resource, Severity};
use jiff::Timestamp;
use millwright_identity::{NodeIdentity, Secret, verify_identity_proof};
use millwright_proto::ids::{NodeName, NodeUid};
use millwright_proto::link::{EnrollRequest, EnrollResponse};

use crate::api::failure::{Failure, ProblemType};
use crate::api::names;
use crate::app::App;
use crate::pki::NodeCertificate;
use crate::store::{Actor, AuditEntry, NewEvent, NewNodeIdentity, Outcome, StoredJoinToken, Write};

/// Actor of enrollments in the audit trail.
pub(crate) const ACTOR: &str = "enrollment";

/// Where the device reached us, as it wrote it.
#[derive(Clone, Debug)]
pub(crate) struct DialledHost(pub(crate) String);

/// Lets one device in, or says why not.
pub(crate) async fn enroll(
    app: &App,
    request: &EnrollRequest,
    dialled: &DialledHost,
    now: Timestamp,
) -> Result<EnrollResponse, Failure> {
    let node: NodeName = parsed("node", &request.node)?;
    let uid = NodeUid::try_from(&request.node_uid[..])
        .map_err(|fault| Failure::invalid("node_uid", fault))?;
    let labels: BTreeMap<String, String> = request.labels.clone().into_iter().collect();
    let metadata = Metadata {
        name: node.to_string(),
        labels,
        ..Metadata::default()
    };
    names::check_metadata(&metadata)?;
    verify_identity_proof(
        &request.identity_public_key,
        &request.csr,
        &request.identity_proof,
    )
    .map_err(|fault| {
        Failure::new(ProblemType::ProofFailed, fault.to_string()).at("identity_proof")
    })?;

    let mut write = app.store.write().await?;
    let token = find_token(&mut write, request).await?;
    let identity = NodeIdentity {
        fleet: app.pki.fleet().clone(),
        tenant: stored_name("tenant", &token.tenant)?,
        site: stored_name("site", &token.site)?,
        node,
        uid,
    };
    let asks_again = write
        .is_enrolled_as(&identity, &request.identity_public_key)
        .await?;
    check_usable(&token, asks_again, now)?;
    if !asks_again {
        check_free(&mut write, &identity).await?;
    }
    let authority = app.pki.authority();
    let certificate = authority.sign_node(&identity, &request.csr, app.node_lifetime, now)?;
    let newcomer = Newcomer {
        identity: &identity,
        identity_key: &request.identity_public_key,
        certificate: &certificate,
        token: &token,
    };
    if asks_again {
        reissue(&mut write, &newcomer, now).await?;
    } else {
        record(&mut write, &newcomer, metadata, now).await?;
    }
    write.commit().await?;
    app.signals.wake_planner();
    tracing::info!(node = %identity.node, site = %identity.site, token = %token.name, "node enrolled");
    Ok(response(app, &identity, &certificate, dialled))
}

/// What to do about a token that lets nobody in.
const ASK_FOR_A_TOKEN: &str = "ask for a new one: fleetctl token create --site SITE";

/// The token of the request.
async fn find_token(
    write: &mut Write,
    request: &EnrollRequest,
) -> Result<StoredJoinToken, Failure> {
    let token = write.join_token(&request.token_id).await?;
    let secret = Secret::new(request.token_secret.clone());
    token
        .filter(|token| secret.matches(&token.secret_hash))
        .ok_or_else(|| {
            // One answer for a wrong id and a wrong secret, so that ids cannot be probed.
            let detail = "no join token has this id and secret";
            Failure::new(ProblemType::TokenUnknown, detail).hint(ASK_FOR_A_TOKEN)
        })
}

/// Whether the token lets this device in; one that only asks again needs no use of it to be left.
fn check_usable(token: &StoredJoinToken, asks_again: bool, now: Timestamp) -> Result<(), Failure> {
    let name = &token.name;
    let (kind, detail) = if token.revoked {
        (
            ProblemType::TokenRevoked,
            format!("join token `{name}` was revoked"),
        )
    } else if token.expires <= now {
        let detail = format!("join token `{name}` ended at {}", token.expires);
        (ProblemType::TokenExpired, detail)
    } else if token.uses_left == 0 && !asks_again {
        let detail = format!("join token `{name}` was used as often as it may be");
        (ProblemType::TokenUsedUp, detail)
    } else {
        return Ok(());
    };
    Err(Failure::new(kind, detail).hint(ASK_FOR_A_TOKEN))
}

async fn check_free(write: &mut Write, identity: &NodeIdentity) -> Result<(), Failure> {
    let NodeIdentity { tenant, node, .. } = identity;
    if write
        .node_name_taken(tenant.as_str(), node.as_str())
        .await?
    {
        let detail = format!("a node named `{node}` is enrolled already");
        return Err(Failure::new(ProblemType::NodeNameTaken, detail)
            .at("node")
            .hint(format!(
                "choose another name (--name), or, if it is the same box set up anew, free the name \
                 first: fleetctl node decommission {node}"
            )));
    }
    if write.knows_node(identity.uid).await? {
        let detail = "this device was enrolled before under the same identity";
        return Err(Failure::new(ProblemType::NodeNameTaken, detail)
            .at("node_uid")
            .hint("enroll with an empty data directory, so that it makes new keys"));
    }
    Ok(())
}

/// A device that has passed every check.
struct Newcomer<'a> {
    identity: &'a NodeIdentity,
    identity_key: &'a [u8],
    certificate: &'a NodeCertificate,
    token: &'a StoredJoinToken,
}

async fn record(
    write: &mut Write,
    newcomer: &Newcomer<'_>,
    metadata: Metadata,
    now: Timestamp,
) -> Result<(), Failure> {
    let NodeIdentity {
        tenant,
        site,
        node,
        uid,
        ..
    } = newcomer.identity;
    let (tenant, token) = (tenant.as_str(), newcomer.token);
    let stored = NewNodeIdentity {
        uid: *uid,
        tenant,
        site: site.as_str(),
        name: node.as_str(),
        identity_key: newcomer.identity_key,
        certificate_serial: &newcomer.certificate.serial,
        certificate_expires: newcomer.certificate.expires,
    };
    write.insert_node_identity(&stored, now).await?;
    // What a decommissioned node of this name left behind makes room.
    write.remove::<Node>(tenant, node.as_str()).await?;
    let mut resource = Resource::<Node>::new(
        node.as_str(),
        NodeSpec {
            site: site.to_string(),
        },
    );
    resource.metadata = metadata;
    resource.status = NodeStatus {
        uid: uid.to_string(),
        phase: NodePhase::Enrolled,
        certificate_expires: Some(newcomer.certificate.expires),
        ..NodeStatus::default()
    };
    write.insert(tenant, resource, now).await?;
    write.use_join_token(&token.id).await?;
    write
        .change_status::<JoinToken>(tenant, &token.name, |status| {
            status.uses_left = status.uses_left.saturating_sub(1);
        })
        .await?;
    write.count_nodes(tenant, site.as_str()).await?;
    let message = format!("enrolled at site {site} with join token {}", token.name);
    tell(write, newcomer, "NodeEnrolled", &message, now).await
}

/// Records the new certificate of a device that never got the one before.
async fn reissue(
    write: &mut Write,
    newcomer: &Newcomer<'_>,
    now: Timestamp,
) -> Result<(), Failure> {
    let NodeIdentity {
        tenant, node, uid, ..
    } = newcomer.identity;
    let expires = newcomer.certificate.expires;
    write
        .replace_certificate(*uid, &newcomer.certificate.serial, expires)
        .await?;
    write
        .change_status::<Node>(tenant.as_str(), node.as_str(), |status| {
            status.certificate_expires = Some(expires);
        })
        .await?;
    let token = &newcomer.token.name;
    let message = format!("asked again with join token {token} and got another certificate");
    tell(write, newcomer, "NodeCertificateReissued", &message, now).await
}

/// The audit row and the event of an enrollment.
async fn tell(
    write: &mut Write,
    newcomer: &Newcomer<'_>,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let NodeIdentity { tenant, node, .. } = newcomer.identity;
    let actor = Actor {
        tenant: tenant.to_string(),
        name: ACTOR.to_owned(),
    };
    let regarding = format!("Node/{node}");
    let entry = AuditEntry {
        actor: &actor,
        action: "enroll",
        object: &regarding,
        outcome: Outcome::Allowed,
        detail: message,
    };
    write.audit(&entry, now).await?;
    let event = NewEvent {
        tenant: tenant.as_str(),
        time: now,
        severity: Severity::Normal,
        reason,
        message,
        regarding: &regarding,
    };
    Ok(write.event(&event).await?)
}

fn response(
    app: &App,
    identity: &NodeIdentity,
    certificate: &NodeCertificate,
    dialled: &DialledHost,
) -> EnrollResponse {
    let host = app.advertise_host.as_deref().unwrap_or(&dialled.0);
    let host = match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    };
    let chain = certificate.chain.iter();
    EnrollResponse {
        certificate_chain: chain.map(|der| der.to_vec().into()).collect(),
        root: app.pki.authority().root().to_vec().into(),
        fleet: identity.fleet.to_string(),
        tenant: identity.tenant.to_string(),
        site: identity.site.to_string(),
        node: identity.node.to_string(),
        quic_address: format!("{host}:{}", app.addresses.quic.port()),
        websocket_address: format!("{host}:{}", app.addresses.websocket.port()),
    }
}

fn parsed<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|fault| Failure::invalid(field, fault))
}

/// A name that was checked when it was stored.
pub(crate) fn stored_name<T: std::str::FromStr>(
    what: &'static str,
    text: &str,
) -> Result<T, Failure> {
    text.parse().map_err(|_| {
        Failure::new(
            ProblemType::Internal,
            format!("the store holds a damaged {what} name; see cloudcore's log"),
        )
    })
}
