//! Who a peer is, and what is refused for it: nobody but a node under its own name.

use fleet_api::NodePhase;
use jiff::Timestamp;
use millwright_identity::{NodeIdentity, Validity};
use millwright_proto::link::{Downlink, FenceReason, downlink};

use super::{Hub, session};
use crate::store::{Actor, AuditEntry, Outcome, StoreError};

/// What refusals are called in the audit trail.
const ACTION: &str = "connect";

/// Whom a certificate names that TLS has verified; `Err` when it is over at `now`. TLS judges what is shown, and in a
/// resumed session nothing is.
pub(super) fn identity_of(leaf: &[u8], now: Timestamp) -> Result<NodeIdentity, String> {
    let validity = Validity::of_certificate(leaf).map_err(|error| error.to_string())?;
    if validity.is_over(now.as_second().unsigned_abs()) {
        return Err("the certificate of the resumed session is over".to_owned());
    }
    NodeIdentity::from_certificate(leaf).map_err(|error| error.to_string())
}

/// The refusal of a node whose certificate says another tenant, site or name than it is registered with: it was issued
/// before the node was moved, or is a forgery. Nodes nobody knows are the store's to refuse.
pub(super) async fn foreign(
    hub: &Hub,
    identity: &NodeIdentity,
) -> Result<Option<Downlink>, StoreError> {
    let Some(node) = hub.parts.store.registered_node(identity.uid).await? else {
        return Ok(None);
    };
    let registered = (&*node.tenant, &*node.site, &*node.name);
    let shown = (
        identity.tenant.as_str(),
        identity.site.as_str(),
        identity.node.as_str(),
    );
    if registered == shown || node.phase == NodePhase::Decommissioned {
        return Ok(None);
    }
    let message = format!(
        "the certificate names tenant {}, site {}, node {}; registered is tenant {}, site {}, node {}",
        shown.0, shown.1, shown.2, registered.0, registered.1, registered.2
    );
    Ok(Some(session::not_this_node(message)))
}

/// Audits a refusal that is about who the peer is, as far as the bound on them allows.
pub(super) async fn audit(hub: &Hub, identity: &NodeIdentity, refusal: &Downlink) {
    let now = Timestamp::now();
    let Some(downlink::Body::Fenced(fenced)) = &refusal.body else {
        return;
    };
    if fenced.reason() != FenceReason::Identity || !hub.parts.refusals.admit(now) {
        return;
    }
    let actor = Actor {
        tenant: identity.tenant.to_string(),
        name: format!("node {}", identity.node),
    };
    let entry = AuditEntry {
        actor: &actor,
        action: ACTION,
        object: &format!("Node/{}", identity.node),
        outcome: Outcome::Refused,
        detail: &fenced.message,
    };
    if let Err(fault) = hub.parts.store.record_refusal(&entry, now).await {
        tracing::error!(error = %fault, "a refusal could not be audited");
    }
}
