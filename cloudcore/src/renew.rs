//! Renewal: a node gets a new certificate for the proof that it holds its identity key.
//!
//! ```text
//!   uid                          ──> challenge (random, time, MAC over them and the uid), server time
//!   uid, challenge, CSR, proof   ──> certificate
//! ```
//! The challenge is the server's, so a node needs no clock; it is bound to one node, good for a minute, and good for one
//! certificate, so a recorded renewal is worth nothing. What a stranger asks for costs no memory and no write: the MAC
//! says whether a challenge is ours, and only a proved renewal is remembered, at most [`RENEWALS_MAX`] per node. The key
//! of the MAC lives as long as the process: a restart makes every challenge void, and the node asks again.
//!
//! It does not matter whether the node's certificate is still good: months after its end the identity key alone brings
//! the node back. It matters who the node is: revoked and decommissioned ones get nothing, checked again in the
//! transaction that issues. A refused attempt changes nothing but the audit trail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleet_api::{Node, NodePhase, Severity};
use jiff::Timestamp;
use millwright_identity::{NodeIdentity, renewal_statement, verify_identity_proof};
use millwright_proto::ids::NodeUid;
use millwright_proto::link::{RenewRequest, RenewResponse, RenewedCertificate, renew_response};
use ring::hmac;

use crate::api::failure::{Failure, ProblemType};
use crate::app::App;
use crate::enroll::stored_name;
use crate::pki::{self, NodeCertificate, PkiError};
use crate::store::{Actor, AuditEntry, NewEvent, Outcome, RegisteredNode, Write};

/// Actor of renewals in the audit trail.
pub(crate) const ACTOR: &str = "renewal";

/// From challenge to answer: two round trips over the worst uplink, and a key made by a small device.
const CHALLENGE_LIFE: Duration = Duration::from_secs(60);

/// Certificates per node within [`Renewals::window`]: one is due in weeks; this leaves room for a device that loses
/// its power again and again, and bounds what a broken one writes to the audit trail.
const RENEWALS_MAX: usize = 20;

/// Longest time over which renewals of a node are counted.
const WINDOW_MAX: Duration = Duration::from_secs(3600);

/// Nodes whose renewals are remembered: about 1 KiB each, and more than renew within an hour in a fleet of millions.
const NODES_MAX: usize = 50_000;

const RANDOM_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const CHALLENGE_BYTES: usize = RANDOM_BYTES + TIME_BYTES + 32;

type Nonce = [u8; RANDOM_BYTES];

/// Challenges under way and renewals just done. Share it in the `App`.
pub(crate) struct Renewals {
    key: hmac::Key,
    /// Proved renewals within the window. Owned by this type; held for no await.
    done: Mutex<BTreeMap<NodeUid, VecDeque<(Timestamp, Nonce)>>>,
}

impl std::fmt::Debug for Renewals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewals").finish_non_exhaustive()
    }
}

impl Renewals {
    /// None yet.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn new() -> Result<Self, PkiError> {
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &pki::random::<32>()?),
            done: Mutex::default(),
        })
    }

    fn challenge(&self, node: NodeUid, now: Timestamp) -> Result<Vec<u8>, PkiError> {
        let mut challenge = pki::random::<RANDOM_BYTES>()?.to_vec();
        challenge.extend(now.as_millisecond().to_be_bytes());
        let tag = hmac::sign(&self.key, &authenticated(node, &challenge));
        challenge.extend(tag.as_ref());
        Ok(challenge)
    }

    /// Whether the challenge is ours, for this node, and fresh.
    fn check(&self, node: NodeUid, challenge: &[u8], now: Timestamp) -> Result<Nonce, Failure> {
        let stale = || {
            let detail =
                "the challenge is not one of this server, is for another node, or is too old";
            Failure::new(ProblemType::ChallengeVoid, detail)
                .at("challenge")
                .hint("ask for another one and answer it within a minute")
        };
        if challenge.len() != CHALLENGE_BYTES {
            return Err(stale());
        }
        let (said, tag) = challenge.split_at(RANDOM_BYTES + TIME_BYTES);
        hmac::verify(&self.key, &authenticated(node, said), tag).map_err(|_| stale())?;
        let (random, time) = said.split_at(RANDOM_BYTES);
        let (Ok(random), Ok(time)) = (Nonce::try_from(random), time.try_into()) else {
            return Err(stale());
        };
        let age_ms = now.as_millisecond() - i64::from_be_bytes(time);
        let life_ms = i64::try_from(CHALLENGE_LIFE.as_millis()).unwrap_or(i64::MAX);
        match (0..=life_ms).contains(&age_ms) {
            true => Ok(random),
            false => Err(stale()),
        }
    }

    /// Renewals are counted over this time: an hour, or less where certificates live for less.
    fn window(lifetime: Duration) -> Duration {
        lifetime.clamp(CHALLENGE_LIFE, WINDOW_MAX)
    }

    /// Takes the challenge of a proved renewal: it is good for no other one.
    fn spend(
        &self,
        node: NodeUid,
        nonce: Nonce,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let window = Self::window(lifetime);
        // Also forgets what a clock set back has put into the future: the challenges of then are void by their age.
        let recent = |at: &Timestamp| now.duration_since(*at).unsigned_abs() <= window;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() >= NODES_MAX && !done.contains_key(&node) {
            done.retain(|_, renewals| renewals.back().is_some_and(|(at, _)| recent(at)));
            if done.len() >= NODES_MAX {
                let detail = "too many nodes renew at once";
                return Err(Failure::new(ProblemType::Overloaded, detail));
            }
        }
        let renewals = done.entry(node).or_default();
        renewals.retain(|(at, _)| recent(at));
        if renewals.iter().any(|(_, spent)| *spent == nonce) {
            let detail = "the challenge was answered before";
            return Err(Failure::new(ProblemType::ChallengeVoid, detail).at("challenge"));
        }
        if renewals.len() >= RENEWALS_MAX {
            let detail = format!(
                "{RENEWALS_MAX} certificates within {} s are enough for one node",
                window.as_secs()
            );
            return Err(Failure::new(ProblemType::TooOften, detail)
                .hint("look at the node: it renews again and again"));
        }
        renewals.push_back((now, nonce));
        Ok(())
    }
}

fn authenticated(node: NodeUid, said: &[u8]) -> Vec<u8> {
    [b"renewal challenge".as_slice(), node.as_bytes(), said].concat()
}

/// Answers one request: with a challenge, with a certificate, or with why not.
pub(crate) async fn renew(
    app: &App,
    request: &RenewRequest,
    now: Timestamp,
) -> Result<RenewResponse, Failure> {
    let uid = NodeUid::try_from(&request.node_uid[..])
        .map_err(|fault| Failure::invalid("node_uid", fault))?;
    let body = if request.challenge.is_empty() {
        renew_response::Body::Challenge(app.renewals.challenge(uid, now)?.into())
    } else {
        let certificate = answered(app, uid, request, now).await?;
        let chain = certificate.chain.iter();
        renew_response::Body::Certificate(RenewedCertificate {
            chain: chain.map(|der| der.to_vec().into()).collect(),
        })
    };
    Ok(RenewResponse {
        server_time_ms: now.as_millisecond().unsigned_abs(),
        body: Some(body),
    })
}

async fn answered(
    app: &App,
    uid: NodeUid,
    request: &RenewRequest,
    now: Timestamp,
) -> Result<NodeCertificate, Failure> {
    let nonce = app.renewals.check(uid, &request.challenge, now)?;
    let node = prove(app.store.registered_node(uid).await?, uid, request)?;
    check_phase(&node)?;
    let lifetime = app.node_lifetime;
    app.renewals.spend(uid, nonce, lifetime.duration(), now)?;

    let mut write = app.store.write().await?;
    // Somebody may have revoked it since; whoever comes second here sees what the first one did.
    check_phase(&prove(write.registered_node(uid).await?, uid, request)?)?;
    let identity = NodeIdentity {
        fleet: app.pki.fleet().clone(),
        tenant: stored_name("tenant", &node.tenant)?,
        site: stored_name("site", &node.site)?,
        node: stored_name("node", &node.name)?,
        uid,
    };
    let authority = app.pki.authority();
    let certificate = authority.sign_node(&identity, &request.csr, lifetime, now)?;
    record(&mut write, &node, uid, &certificate, now).await?;
    write.commit().await?;
    tracing::info!(node = node.name, site = node.site, ends = %certificate.expires, "certificate renewed");
    Ok(certificate)
}

/// The node, when the request proves that it holds its identity key.
fn prove(
    node: Option<RegisteredNode>,
    uid: NodeUid,
    request: &RenewRequest,
) -> Result<RegisteredNode, Failure> {
    let statement = renewal_statement(uid, &request.challenge, &request.csr);
    let proved = |node: &RegisteredNode| {
        verify_identity_proof(&node.identity_key, &statement, &request.identity_proof).is_ok()
    };
    node.filter(proved).ok_or_else(|| {
        // One answer for an unknown node and a wrong key, so that uids cannot be probed.
        let detail = "no node with this uid and this identity key is enrolled here";
        Failure::new(ProblemType::ProofFailed, detail)
            .at("identity_proof")
            .hint("enroll the node again: edge-agent enroll --force")
    })
}

fn check_phase(node: &RegisteredNode) -> Result<(), Failure> {
    let ended = match node.phase {
        NodePhase::Enrolled => return Ok(()),
        NodePhase::Revoked => "revoked",
        NodePhase::Decommissioned => "decommissioned",
    };
    let detail = format!("node `{}` was {ended}", node.name);
    Err(Failure::new(ProblemType::NodeRevoked, detail)
        .hint("to use the device again, enroll it as a new node: edge-agent enroll --force"))
}

/// The new certificate, its audit row and its event.
async fn record(
    write: &mut Write,
    node: &RegisteredNode,
    uid: NodeUid,
    certificate: &NodeCertificate,
    now: Timestamp,
) -> Result<(), Failure> {
    let expires = certificate.expires;
    write
        .replace_certificate(uid, &certificate.serial, expires)
        .await?;
    write
        .change_status::<Node>(&node.tenant, &node.name, |status| {
            status.certificate_expires = Some(expires);
        })
        .await?;
    let actor = Actor {
        tenant: node.tenant.clone(),
        name: ACTOR.to_owned(),
    };
    let regarding = format!("Node/{}", node.name);
    let was_over = node.certificate_expires < now;
    let message = match was_over {
        true => format!(
            "the certificate that had run out at {} was renewed by the identity key, until {expires}",
            node.certificate_expires
        ),
        false => format!("the certificate was renewed until {expires}"),
    };
    let entry = AuditEntry {
        actor: &actor,
        action: "renew",
        object: &regarding,
        outcome: Outcome::Allowed,
        detail: &message,
    };
    write.audit(&entry, now).await?;
    let event = NewEvent {
        tenant: &node.tenant,
        time: now,
        severity: Severity::Normal,
        reason: "NodeCertificateRenewed",
        message: &message,
        regarding: &regarding,
    };
    Ok(write.event(&event).await?)
}
