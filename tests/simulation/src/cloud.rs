//! The cloud: what its store holds, and the sessions that live while it runs.
//!
//! Its decisions are fleet-core's: the planner, and which report counts. Every change of the store is
//! one transaction; a crash may fall before it, or between it and the answer.

mod counted;
mod ingest;
mod operator;
mod planner;

use std::collections::{BTreeMap, BTreeSet};

use edge_core::outbox::Stream;
use fleet_core::Snapshot;
use fleet_core::fleet::{Liveness, Memory};
use millwright_proto::Digest;
use millwright_proto::ids::{DeploymentName, Generation, ModelVersion, NodeName, NodeUid};

use crate::event::{Event, LineageId, Ms, WireId};
use crate::shared::Shared;

pub(crate) use counted::{Counted, Stands};

/// A stream of an outbox store of a node.
pub(crate) type StreamKey = (NodeUid, LineageId, Stream);

/// The last session of a node, as stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionRow {
    /// Counts the sessions.
    pub term: u64,
    /// As in the real store.
    pub secret_current: Option<Vec<u8>>,
    /// As in the real store.
    pub secret_previous: Option<Vec<u8>>,
    /// The outbox store it was about.
    pub lineage: LineageId,
}

/// What survives a crash, and goes into a backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    /// Everything the planner sees.
    pub snapshot: Snapshot,
    /// Who is enrolled.
    pub uids: BTreeMap<NodeUid, NodeName>,
    /// Sessions.
    pub sessions: BTreeMap<NodeUid, SessionRow>,
    /// Through which number every stream is counted.
    pub watermarks: BTreeMap<StreamKey, u64>,
    /// What a deployment was meant to be when this was stored.
    pub taken: Ms,
}

/// A session that lives.
#[derive(Clone, Copy, Debug)]
struct Live {
    uid: NodeUid,
    term: u64,
    lineage: LineageId,
    known: Generation,
}

/// When a crash comes, in steps from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crashed;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cloud {
    /// Its store.
    pub store: Store,
    /// What the store's windows and events are.
    pub counted: Counted,
    /// Copies of the store, oldest first.
    backups: Vec<Store>,
    sessions: BTreeMap<WireId, Live>,
    fuse: Option<u32>,
    running: bool,
    plans_at: Option<Ms>,
    /// How often it was restored.
    pub incarnation: u64,
    /// What the operator wants to run, whatever a restore says.
    intended: BTreeMap<DeploymentName, ModelVersion>,
    /// Somebody starts it again already.
    pub restarts: bool,
    /// Nodes whose rights the operator ended, and when.
    pub revoked: BTreeSet<NodeUid>,
}

/// Backups that are kept: a restore takes any of them.
const BACKUPS_MAX: usize = 4;

impl Cloud {
    /// A cloud with every node enrolled and every version pushed.
    #[must_use]
    pub(crate) fn new(store: Store) -> Self {
        Self {
            backups: vec![store.clone()],
            store,
            counted: Counted::default(),
            sessions: BTreeMap::new(),
            fuse: None,
            running: true,
            plans_at: None,
            incarnation: 0,
            intended: BTreeMap::new(),
            restarts: false,
            revoked: BTreeSet::new(),
        }
    }

    /// One half of a commit: the place of a crash.
    fn step(&mut self) -> Result<(), Crashed> {
        match &mut self.fuse {
            None => Ok(()),
            Some(0) => Err(Crashed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Dies at the n-th half commit from now.
    pub(crate) fn arm(&mut self, steps: u32) {
        self.fuse = Some(steps);
    }

    /// Whether it still has to die.
    #[must_use]
    pub(crate) fn is_armed(&self) -> bool {
        self.fuse.is_some()
    }

    /// Dies: every session ends, and what was not committed is gone.
    pub(crate) fn crash(&mut self, shared: &mut Shared) {
        self.fuse = None;
        if !self.running {
            return;
        }
        shared.note_cloud("the cloud dies", 0, 0);
        self.running = false;
        self.plans_at = None;
        shared.network.cloud_down = true;
        for wire in std::mem::take(&mut self.sessions).into_keys() {
            shared.cut(wire);
        }
        let open: Vec<WireId> = shared.wires.keys().copied().collect();
        for wire in open {
            shared.cut(wire);
            // Nothing that was on its way reaches the next process.
            shared.cloud_closes(wire);
        }
    }

    /// Starts: no session outlives the process.
    pub(crate) fn start(&mut self, shared: &mut Shared) {
        if self.running {
            return;
        }
        shared.note_cloud("the cloud starts", self.incarnation, 0);
        self.running = true;
        self.restarts = false;
        shared.network.cloud_down = false;
        let since_ms = Some(unix(shared.now));
        for node in self.store.snapshot.nodes.values_mut() {
            if node.is_connected() {
                node.liveness = Liveness::Silent { since_ms };
            }
        }
        self.wake_planner(shared);
    }

    /// Copies the store.
    pub(crate) fn back_up(&mut self, shared: &mut Shared) {
        let mut backup = self.store.clone();
        backup.taken = shared.now;
        if self.backups.len() == BACKUPS_MAX {
            self.backups.remove(0);
        }
        self.backups.push(backup);
        shared.note_cloud("a backup is taken", 0, 0);
    }

    /// Puts an older copy in the store's place: another life of the store, as the real restore makes it.
    pub(crate) fn restore(&mut self, shared: &mut Shared) {
        self.crash(shared);
        let pick = shared.random.index(self.backups.len());
        self.backups.truncate(pick + 1);
        self.store = self.backups[pick].clone();
        for session in self.store.sessions.values_mut() {
            session.secret_current = None;
            session.secret_previous = None;
        }
        for node in self.store.snapshot.nodes.values_mut() {
            node.memory = Memory::Restored;
        }
        self.counted.forget_after(&self.store.watermarks);
        self.incarnation += 1;
        shared.network.life = self.incarnation;
        shared.books.adopted.clear();
        shared.note_cloud("a backup is restored", self.store.taken, self.incarnation);
    }

    /// The planner will look, a moment after the last of many reasons.
    fn wake_planner(&mut self, shared: &mut Shared) {
        if self.plans_at.is_none() && self.running {
            let at = shared.now + shared.random.between(50, 2_000);
            self.plans_at = Some(at);
            shared.queue.at(at, Event::Plan);
        }
    }

    /// The connection is found dead.
    pub(crate) fn notices(&mut self, wire: WireId, shared: &mut Shared) {
        if let Some(live) = self.sessions.remove(&wire) {
            let row = self.store.sessions.get(&live.uid);
            if row.is_some_and(|row| row.term == live.term) {
                self.silent(live.uid, shared);
                self.wake_planner(shared);
            }
        }
        shared.cloud_closes(wire);
    }

    fn silent(&mut self, uid: NodeUid, shared: &Shared) {
        let since_ms = Some(unix(shared.now));
        if let Some(node) = self.node_mut(uid) {
            node.liveness = Liveness::Silent { since_ms };
        }
    }

    fn node_mut(&mut self, uid: NodeUid) -> Option<&mut fleet_core::fleet::Node> {
        let name = self.store.uids.get(&uid)?;
        self.store.snapshot.nodes.get_mut(name)
    }

    /// The desired state it has of a node.
    #[must_use]
    pub(crate) fn stored(&self, uid: NodeUid) -> Option<(Generation, Digest)> {
        let name = self.store.uids.get(&uid)?;
        let desired = self.store.snapshot.nodes.get(name)?.desired.as_ref()?;
        Some((desired.generation, desired.digest))
    }

    /// Whether an operator has decided what becomes of what a node has.
    #[must_use]
    pub(crate) fn has_decision(&self, uid: NodeUid, generation: Generation) -> bool {
        let name = self.store.uids.get(&uid);
        let node = name.and_then(|name| self.store.snapshot.nodes.get(name));
        node.is_some_and(|node| [node.reassert, node.adopt].contains(&Some(generation)))
    }

    /// Whether a node that is not allowed to has a session.
    #[must_use]
    pub(crate) fn has_session(&self, uid: NodeUid) -> bool {
        self.sessions.values().any(|live| live.uid == uid)
    }
}

/// Unix milliseconds of a moment; the run begins at the epoch.
pub(crate) fn unix(at: Ms) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
