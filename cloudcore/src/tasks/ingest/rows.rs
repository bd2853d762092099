//! What a Hello and a batch write, inside a transaction that the caller commits.

use std::collections::BTreeMap;

use fleet_api::NodePhase;
use fleet_core::ingest::secret::{self, Outbox, Presented};
use jiff::Timestamp;

use super::batch::{Batch, stream_key};
use super::{
    Admission, BATCH_REPORTS_MAX, Hello, Outcome, Report, SessionKey, StreamName, Violation,
    payload,
};
use crate::store::{KnownNode, KnownSession, NewSession, StoreError, Write};

/// Begins a session, unless the node must not have one.
pub(super) async fn hello(
    write: &mut Write,
    hello: &Hello,
    now: Timestamp,
) -> Result<Admission, StoreError> {
    let Some(node) = write.known_node(hello.uid).await? else {
        return Ok(Admission::Unknown);
    };
    match node.phase {
        NodePhase::Enrolled => {}
        NodePhase::Revoked | NodePhase::Decommissioned => return Ok(Admission::Revoked),
    }
    let lineage = hello.lineage;
    let outbox = match write.knows_lineage(hello.uid, lineage).await? {
        true => Outbox::Known,
        false => Outbox::New,
    };
    let remembered = node.session.as_ref().map(KnownSession::remembered);
    match secret::judge(remembered, &hello.secret, outbox) {
        Presented::Accepted => {}
        Presented::StateLost => payload::state_lost(write, &node, now).await?,
        Presented::Cloned => {
            payload::cloned(write, &node, now).await?;
            return Ok(Admission::Cloned);
        }
    }
    let term = node.session.as_ref().map_or(1, |last| last.term + 1);
    let given = secret::given(remembered, &hello.secret, &hello.new_secret);
    write
        .begin_session(&new_session(hello, &node, term, &given), now)
        .await?;
    if let Some(peer) = &hello.peer {
        write.remember_peer((&node.tenant, hello.uid), peer).await?;
    }
    let mut watermarks = BTreeMap::new();
    for stream in [StreamName::Events, StreamName::Summaries] {
        let key = stream_key(hello.uid, &node, lineage, stream);
        watermarks.insert(stream, write.watermark(key).await?);
    }
    let uid = hello.uid;
    Ok(Admission::Welcome {
        session: SessionKey { uid, term, lineage },
        node: node.name,
        watermarks,
    })
}

/// Writes what a session received, in order; tells whether the planner should look.
pub(super) async fn batch(
    write: &mut Write,
    session: &SessionKey,
    reports: &[Report],
    now: Timestamp,
) -> Result<(Outcome, bool), StoreError> {
    let node = match write.known_node(session.uid).await? {
        Some(node) if node.phase == NodePhase::Enrolled => node,
        Some(_) | None => return Ok((Outcome::Revoked, false)),
    };
    if node.session.as_ref().map(|live| live.term) != Some(session.term) {
        return Ok((Outcome::Superseded, false));
    }
    let mut batch = Batch::new(session, &node, now);
    let mut violation = (reports.len() > BATCH_REPORTS_MAX).then_some(Violation::Batch {
        reports: reports.len(),
    });
    for report in reports.iter().take(BATCH_REPORTS_MAX) {
        if let Err(broken) = batch.take(write, report).await? {
            violation = Some(broken);
            break;
        }
    }
    let closed = batch.close(write).await?;
    let outcome = Outcome::Committed {
        acknowledge: closed.acknowledge,
        violation,
    };
    Ok((outcome, closed.wakes))
}

fn new_session<'a>(
    hello: &'a Hello,
    node: &'a KnownNode,
    term: u64,
    given: &'a [u8],
) -> NewSession<'a> {
    NewSession {
        uid: hello.uid,
        tenant: &node.tenant,
        term,
        secret_current: given,
        secret_previous: &hello.secret,
        instance: hello.instance,
        boot: hello.boot,
        lineage: hello.lineage,
        transport: hello.transport,
        agent_version: &hello.agent_version,
        os: &hello.os,
        arch: &hello.arch,
        onnxruntime: &hello.onnxruntime,
        capabilities: &hello.capabilities,
        applied: hello.applied,
    }
}
