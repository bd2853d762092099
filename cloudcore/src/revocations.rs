//! Which nodes were revoked or decommissioned, in a file beside the store.
//!
//! A restored store is older than what operators decided since: without this file it would let nodes in
//! again that were revoked after the backup. So every such decision is also appended to a file, which
//! `cloudcore restore --revocations` carries over from the data directory that it replaces, and which
//! `cloudcore serve` applies when it starts.
//!
//! One line per decision; rewritten at every start from what the store holds, so that it grows with the
//! nodes, not with time. The store decides while it runs; the file is only ever read at a start.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fleet_api::{NodePhase, Severity};
use jiff::Timestamp;
use millwright_proto::ids::NodeUid;
use thiserror::Error;

use crate::pki::{self, PkiError};
use crate::store::{Actor, AuditEntry, NewEvent, Outcome, Store, StoreError};

/// Name of the file inside the data directory.
pub(crate) const FILE_NAME: &str = "revocations";

/// Longest file that is read: a million decisions.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Who applies what the file says, in the audit log.
const ACTOR: &str = "revocations";

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum RevocationsError {
    /// It cannot be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what cloudcore writes.
    #[error(
        "line {line} of {path} is damaged: remove it, and revoke its node again once the server runs"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be replaced.
    #[error(transparent)]
    Replace(#[from] PkiError),
}

/// What a file says.
#[derive(Default)]
struct Decisions {
    /// The last decision on every node.
    nodes: BTreeMap<NodeUid, NodePhase>,
    /// Lines that say nothing, counted from 1.
    damaged: Vec<usize>,
}

/// Appends a decision and makes it durable.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn append(
    data_dir: &Path,
    uid: NodeUid,
    phase: NodePhase,
    now: Timestamp,
) -> Result<(), RevocationsError> {
    let path = data_dir.join(FILE_NAME);
    let failed = |source| RevocationsError::File {
        operation: "append to",
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let line = line(uid, phase, now);
    file.write_all(line.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// The file's text, if it is sound; `restore` carries it over.
///
/// # Errors
/// When it cannot be read or is damaged.
pub(crate) fn carried_over(path: &Path) -> Result<String, RevocationsError> {
    let text = text(path)?;
    match parse(&text).damaged.first() {
        None => Ok(text),
        Some(line) => Err(RevocationsError::Damaged {
            path: path.to_owned(),
            line: *line,
        }),
    }
}

/// Revokes and decommissions in the store what the file says, then writes the file anew from the store.
///
/// # Errors
/// When the file cannot be read or replaced, is damaged, or the store fails.
pub(crate) async fn apply(
    store: &Store,
    data_dir: &Path,
    now: Timestamp,
) -> Result<(), RevocationsError> {
    let path = data_dir.join(FILE_NAME);
    let Decisions { mut nodes, damaged } = match path.exists() {
        true => parse(&text(&path)?),
        false => Decisions::default(),
    };
    if !damaged.is_empty() {
        // The store has them all, unless it is older than they are; `restore` takes no damaged file.
        tracing::warn!(path = %path.display(), lines = ?damaged, "damaged lines are skipped");
    }
    for (uid, phase) in &nodes {
        bar(store, *uid, *phase, now).await?;
    }
    // What is unknown to this store stays in the file: a newer backup may know it.
    nodes.extend(store.barred_phases().await?);
    let lines = nodes.iter().map(|(uid, phase)| line(*uid, *phase, now));
    Ok(pki::write_private(
        &path,
        lines.collect::<String>().as_bytes(),
    )?)
}

/// Ends the trust in one node, if the store still has it.
async fn bar(
    store: &Store,
    uid: NodeUid,
    phase: NodePhase,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(node) = store.registered_node(uid).await? else {
        return Ok(());
    };
    let is_new = match node.phase {
        NodePhase::Enrolled => true,
        NodePhase::Revoked => phase == NodePhase::Decommissioned,
        NodePhase::Decommissioned => false,
    };
    if !is_new {
        return Ok(());
    }
    let mut write = store.write().await?;
    write.bar_node(uid, &node, phase).await?;
    let actor = Actor {
        tenant: node.tenant.clone(),
        name: ACTOR.to_owned(),
    };
    let regarding = format!("Node/{}", node.name);
    let detail = "decided after the backup that was restored";
    let entry = AuditEntry {
        actor: &actor,
        action: "revoke",
        object: &regarding,
        outcome: Outcome::Allowed,
        detail,
    };
    write.audit(&entry, now).await?;
    let event = NewEvent {
        tenant: &node.tenant,
        time: now,
        severity: Severity::Warning,
        reason: "NodeRevoked",
        message: detail,
        regarding: &regarding,
    };
    write.event(&event).await?;
    write.commit().await?;
    tracing::warn!(node = node.name, %uid, "revoked again: {detail}");
    Ok(())
}

fn line(uid: NodeUid, phase: NodePhase, now: Timestamp) -> String {
    let phase = match phase {
        NodePhase::Enrolled => "enrolled",
        NodePhase::Revoked => "revoked",
        NodePhase::Decommissioned => "decommissioned",
    };
    format!("{uid} {phase} {now}\n")
}

fn text(path: &Path) -> Result<String, RevocationsError> {
    let failed = |source| RevocationsError::File {
        operation: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    match text.len() as u64 == FILE_BYTES_MAX {
        // What is cut off would be nodes that are let in again.
        true => Err(failed(io::ErrorKind::FileTooLarge.into())),
        false => Ok(text),
    }
}

fn parse(text: &str) -> Decisions {
    let mut decisions = Decisions::default();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // A crash while a line was appended: the store has that decision.
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        match decision(line) {
            Some((uid, phase)) => drop(decisions.nodes.insert(uid, phase)),
            None => decisions.damaged.push(index + 1),
        }
    }
    decisions
}

fn decision(line: &str) -> Option<(NodeUid, NodePhase)> {
    let mut words = line.split(' ');
    let (uid, phase, _time) = (words.next()?, words.next()?, words.next()?);
    let phase = match phase {
        "revoked" => NodePhase::Revoked,
        "decommissioned" => NodePhase::Decommissioned,
        _ => return None,
    };
    Some((uid.parse().ok()?, phase))
}

#[cfg(test)]
mod tests;
