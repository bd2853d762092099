//! From the parts of the running agent, or from its directory alone, to a [`Status`].

use std::collections::BTreeMap;

use edge_core::drift::describe;
use edge_core::hold::Hold;
use edge_core::outbox::GapReason;
use millwright_package::profile::{Difference, worst};
use millwright_proto::link::{Applied, SlotState};
use millwright_summary::distance::Verdict;
use tokio::sync::watch;

use super::{
    BacklogFacts, CertificateFacts, DesiredFacts, DiskFacts, HoldFacts, LinkFacts, ModelFacts,
    NodeStatus, RuntimeFacts, Status, advice,
};
use crate::control::SANDBOX_DEGRADED;
use crate::data_dir::Layout;
use crate::desired::DesiredStore;
use crate::hold;
use crate::identity::StoredIdentity;
use crate::link::{LinkState, LinkStatus, ReceivedDesired};
use crate::pipeline::PipelineTable;
use crate::renew;
use crate::serving::models::ActiveModels;
use crate::storage::Problems;
use crate::store::{Outbox, OutboxLimits, OutboxStats};
use crate::telemetry::Recorder;
use crate::telemetry::clock::Clock;

/// A value and when it began to be so.
#[derive(Clone, Debug)]
pub struct Since<T> {
    /// Now.
    pub value: T,
    began: std::time::Instant,
    /// The last error that was told, also when `value` no longer tells it.
    last_error: Option<String>,
}

impl<T> Since<T> {
    /// It begins now.
    #[must_use]
    pub fn now(value: T) -> Self {
        Self {
            value,
            began: std::time::Instant::now(),
            last_error: None,
        }
    }
}

impl Since<LinkState> {
    /// Takes a new state over; the time begins anew only when the status is another one. Tells whether
    /// anything changed.
    pub fn update(&mut self, state: LinkState) -> bool {
        let changed = self.value != state;
        if self.value.status != state.status {
            self.began = std::time::Instant::now();
        }
        if state.last_error.is_some() {
            self.last_error.clone_from(&state.last_error);
        }
        self.value = state;
        changed
    }
}

/// Who the node is; never changes while the agent runs.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    node: NodeStatus,
    layout: Layout,
}

impl NodeFacts {
    /// What `identity` says.
    #[must_use]
    pub fn of(identity: &StoredIdentity, layout: &Layout) -> Self {
        Self {
            node: NodeStatus {
                name: identity.node.node.to_string(),
                site: identity.node.site.to_string(),
                tenant: identity.node.tenant.to_string(),
                uid: identity.node.uid.to_string(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                data_dir: layout.root().display().to_string(),
            },
            layout: layout.clone(),
        }
    }

    /// A node that no fleet knows.
    #[must_use]
    pub fn alone(layout: &Layout) -> Self {
        let node = NodeStatus {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: layout.root().display().to_string(),
            ..NodeStatus::default()
        };
        Self {
            node,
            layout: layout.clone(),
        }
    }
}

/// Where the running agent's status comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Who it is.
    pub node: NodeFacts,
    /// What ties it to a fleet; `None` for an agent that serves one package by itself.
    pub fleet: Option<FleetSources>,
    /// Its clock.
    pub clock: Clock,
    /// What was made of the desired state.
    pub applied: watch::Receiver<Applied>,
    /// What cannot be stored.
    pub storage: watch::Receiver<Problems>,
    /// What answers.
    pub models: ActiveModels,
    /// What runs without being asked.
    pub pipelines: PipelineTable,
    /// What was answered.
    pub recorder: Recorder,
}

/// What only a node of a fleet has.
#[derive(Clone, Debug)]
pub struct FleetSources {
    /// The connection.
    pub link: watch::Receiver<Since<LinkState>>,
    /// What came over it.
    pub received: watch::Receiver<Option<ReceivedDesired>>,
    /// The outbox, once it is open.
    pub outbox: watch::Receiver<Option<Outbox>>,
    /// The hold.
    pub hold: watch::Receiver<Option<Hold>>,
    /// The certificate, and when it is renewed.
    pub certificate: watch::Receiver<renew::CertificateFacts>,
}

impl Sources {
    /// How the outbox is doing, once it is open.
    pub async fn stats(&self) -> Option<OutboxStats> {
        let outbox = self.fleet.as_ref()?.outbox.borrow().clone();
        match outbox?.stats().await {
            Ok(stats) => Some(stats),
            Err(error) => {
                tracing::debug!(%error, "the outbox does not tell how it is doing");
                None
            }
        }
    }

    /// Gathers everything. Blocks for as long as the kernel takes to count the workers' memory.
    #[must_use]
    pub fn status(&self, stats: Option<&OutboxStats>) -> Status {
        let now_ms = self.clock.now().wall_ms;
        let applied = self.applied.borrow().clone();
        let fleet = self.fleet.as_ref();
        let received = fleet.and_then(|fleet| Some(fleet.received.borrow().as_ref()?.generation));
        let received = received.map(|generation| generation.get());
        let mut status = Status {
            running: true,
            node: self.node.node.clone(),
            now_ms,
            link: fleet.map(|fleet| link(&fleet.link.borrow(), now_ms)),
            backlog: stats.map(backlog),
            disk: disk(&self.node.layout),
            certificate: fleet.map(|fleet| certificate(&fleet.certificate.borrow())),
            desired: DesiredFacts {
                generation: applied.generation,
                waiting_generation: received.filter(|received| *received > applied.generation),
            },
            models: self.models(&applied),
            pipelines: self.pipelines.facts(),
            hold: fleet.and_then(|fleet| fleet.hold.borrow().as_ref().map(hold_facts)),
            onnxruntime: runtime(&applied),
            sandbox: degraded(&applied),
            storage: self
                .storage
                .borrow()
                .iter()
                .map(|(part, problem)| format!("{part}: {problem}"))
                .collect(),
            advice: Vec::new(),
        };
        status.advice = advice::advice(&status);
        status
    }

    fn models(&self, applied: &Applied) -> Vec<ModelFacts> {
        let mut models: BTreeMap<String, ModelFacts> = BTreeMap::new();
        for slot in &applied.slots {
            let facts = ModelFacts {
                model: slot.model.clone(),
                wanted: slot.version.clone(),
                state: state_name(slot.state()).to_owned(),
                active: slot.active_version.clone(),
                reason: slot.reason.clone(),
                message: slot.message.clone(),
                ..ModelFacts::default()
            };
            models.insert(slot.model.clone(), facts);
        }
        for worker in self.models.workers() {
            let name = worker.model().model.to_string();
            let facts = models.entry(name.clone()).or_insert_with(|| ModelFacts {
                model: name,
                ..ModelFacts::default()
            });
            facts.active = worker.model().version.to_string();
            facts.memory_bytes = worker.memory_bytes();
            facts.provider = Some(worker.footing().computing.provider.to_string());
        }
        for (version, counters) in self.recorder.counters().models {
            if let Some(facts) = models.get_mut(version.model.as_str()) {
                facts.requests += counters.requests;
                facts.errors += counters.errors.values().sum::<u64>();
            }
        }
        for drift in self.recorder.drift() {
            let facts = models.get_mut(drift.model.model.as_str());
            let version = drift.model.version.to_string();
            if let Some(facts) = facts.filter(|facts| facts.active == version) {
                tell_drift(facts, &drift.differences);
            }
        }
        models.into_values().collect()
    }
}

/// The worst verdict, and what it is about.
fn tell_drift(facts: &mut ModelFacts, differences: &[Difference]) {
    let verdict = worst(differences);
    let about: Vec<Difference> = differences
        .iter()
        .filter(|difference| difference.verdict == verdict)
        .cloned()
        .collect();
    facts.drift = Some(verdict.as_str().to_owned());
    facts.drift_message = match verdict {
        Verdict::Drift | Verdict::Watch => describe(&about),
        Verdict::Steady => format!(
            "{} of {} distributions judged",
            about.len(),
            differences.len()
        ),
        Verdict::Inconclusive => {
            let samples = differences.iter().filter_map(|of| of.distance);
            let samples = samples.map(|distance| distance.samples).max();
            format!("{} samples so far are too few", samples.unwrap_or(0))
        }
    };
}

/// What the directory of an agent that does not run tells.
#[must_use]
pub fn from_directory(layout: &Layout, now_ms: u64) -> Status {
    let mut status = Status {
        now_ms,
        disk: disk(layout),
        ..Status::default()
    };
    match StoredIdentity::load(layout) {
        Ok(identity) => {
            let facts = NodeFacts::of(&identity, layout);
            status.node = facts.node;
            status.certificate = Some(CertificateFacts {
                not_before_ms: identity.validity.not_before.saturating_mul(1000),
                not_after_ms: identity.validity.not_after.saturating_mul(1000),
                ..CertificateFacts::default()
            });
        }
        Err(error) => {
            status.node.data_dir = layout.root().display().to_string();
            status.advice.push(crate::control::chain(&error));
        }
    }
    if let Some(current) = DesiredStore::peek(layout) {
        status.desired.generation = current.generation.get();
        let packages = current.plan.packages.values();
        status.models = packages
            .map(|(package, _)| ModelFacts {
                model: package.id.version.model.to_string(),
                wanted: package.id.version.version.to_string(),
                ..ModelFacts::default()
            })
            .collect();
    }
    status.hold = hold::read(layout).ok().flatten().as_ref().map(hold_facts);
    status.advice.extend(advice::advice(&status));
    status
}

fn link(since: &Since<LinkState>, now_ms: u64) -> LinkFacts {
    let (state, transport) = match &since.value.status {
        LinkStatus::Disabled => ("disabled", None),
        LinkStatus::Connecting => ("connecting", None),
        LinkStatus::Connected { transport } => ("connected", Some(transport.to_string())),
        LinkStatus::Fenced { .. } => ("refused", None),
    };
    let ago = u64::try_from(since.began.elapsed().as_millis()).unwrap_or(u64::MAX);
    LinkFacts {
        state: state.to_owned(),
        transport,
        since_ms: now_ms.saturating_sub(ago),
        last_error: since.last_error.clone(),
    }
}

fn backlog(stats: &OutboxStats) -> BacklogFacts {
    let losses = stats.losses.iter();
    BacklogFacts {
        records: stats.backlog.records,
        bytes: stats.backlog.bytes,
        oldest_ms: stats.oldest_unix_ms,
        losses: losses
            .map(|(reason, numbers)| (loss_name(*reason).to_owned(), *numbers))
            .collect(),
        merged_windows: stats.merged_windows,
        used_bytes: stats.used_bytes,
        quota_bytes: stats.quota_bytes,
        written_today_bytes: stats.written_today_bytes,
        written_per_day_max_bytes: stats.written_per_day_max_bytes,
    }
}

const fn loss_name(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Evicted => "evicted",
        GapReason::Corrupt => "corrupt",
        GapReason::FateUnknown => "fateUnknown",
        GapReason::Quarantined => "quarantined",
    }
}

fn certificate(facts: &renew::CertificateFacts) -> CertificateFacts {
    CertificateFacts {
        not_before_ms: facts.not_before.saturating_mul(1000),
        not_after_ms: facts.not_after.saturating_mul(1000),
        next_renewal_ms: Some(facts.next_renewal.saturating_mul(1000)),
        renewed_ms: facts.renewed_at.map(|at| at.saturating_mul(1000)),
        last_error: facts.last_error.clone(),
    }
}

fn disk(layout: &Layout) -> Option<DiskFacts> {
    let disk = rustix::fs::statvfs(layout.root()).ok()?;
    Some(DiskFacts {
        total_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        free_bytes_min: OutboxLimits::default().free_bytes_min,
    })
}

fn hold_facts(hold: &Hold) -> HoldFacts {
    HoldFacts {
        reason: hold.reason.clone(),
        since_ms: hold.since_ms,
        until_ms: hold.until_ms,
    }
}

fn runtime(applied: &Applied) -> Option<RuntimeFacts> {
    let mut conditions = applied.conditions.iter();
    let told = conditions.find(|condition| condition.r#type == "RuntimeMissing")?;
    Some(RuntimeFacts {
        found: !told.holds,
        message: told.message.clone(),
    })
}

fn degraded(applied: &Applied) -> Option<String> {
    let mut conditions = applied.conditions.iter();
    let told = conditions.find(|condition| condition.r#type == SANDBOX_DEGRADED)?;
    told.holds.then(|| told.message.clone())
}

const fn state_name(state: SlotState) -> &'static str {
    match state {
        SlotState::Unspecified => "unknown",
        SlotState::Pending => "pending",
        SlotState::Staged => "staged",
        SlotState::Verified => "verified",
        SlotState::Warmed => "warmed",
        SlotState::Active => "active",
        SlotState::Failed => "failed",
    }
}
