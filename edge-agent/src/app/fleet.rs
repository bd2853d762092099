//! Running in a fleet: what the cloud wants, also while it is out of reach.

use std::path::Path;
use std::sync::Arc;

use edge_core::hold::Hold;
use millwright_proto::frame::CAPABILITY_PIPELINES;
use millwright_proto::hard_example;
use millwright_proto::ids::{BootId, InstanceId};
use millwright_proto::link::{Applied, Platform};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::addresses::{self, Addresses};
use super::running::{ControlParts, Home, Running, ended, start_pipelines, telemetry};
use super::sink::OutboxSink;
use super::stop::Stop;
use super::uplink::{Uplink, UplinkEnds, UplinkParts};
use super::{AppError, Base, Serving};
use crate::config::{RunConfig, Transports};
use crate::control::Wish;
use crate::data_dir::{DataDir, Layout};
use crate::desired::{Damage, DesiredStore};
use crate::fetch::{Shelf, TrustPolicy};
use crate::hard_examples::answer::Answers;
use crate::hold;
use crate::identity::{StoredIdentity, trust};
use crate::journal::{Journal, Severity};
use crate::link::LinkConfig;
use crate::renew::{self, CertificateFacts, Renewal};
use crate::serving::repository::Repository;
use crate::status::{FleetSources, NodeFacts};
use crate::storage::{Part, StorageHealth};

/// Runs until `stop`. Nothing here waits for a session, and what serves waits for no outbox.
pub(super) async fn run(config: &RunConfig, data_dir: &Path, stop: Stop) -> Result<(), AppError> {
    let data_dir = DataDir::open(data_dir)?;
    let layout = data_dir.layout();
    let identity = Arc::new(StoredIdentity::load(layout)?);
    let trust = trust::load(layout)?;
    let storage = StorageHealth::new(layout.root().to_owned());
    let (desired, damages) = DesiredStore::open(layout);
    let clock_floor_ms = identity.clock().floor_s().saturating_mul(1000);
    let packages = desired.in_force().map(|current| &current.plan.packages);
    let expected = packages.map(|packages| packages.keys().cloned().collect());
    let serving = Serving {
        clock_floor_ms,
        expected: expected.unwrap_or_default(),
        repository: Repository::Fleet,
        socket: Some(layout.socket()),
        page_token: Some(layout.page_token()),
    };
    let base = Base::start(config, serving, &stop).await?;
    tell_addresses(&data_dir, &base, &storage, &stop);

    let (journal, writer) = Journal::storing(base.boot, base.clock.clone());
    tell_start(&journal, &damages);
    if trust.is_empty() {
        warn_without_trust(layout);
    }
    let told = (&storage, &journal);
    let (uplink, ends) = uplink(config, &identity, layout, &base, told, &stop)?;
    let renewal = renewal(config, &identity, &uplink, ends.server_time_ms, &journal);
    let writer = tokio::spawn(writer.run(uplink.outbox(), storage.clone()));
    let hold = hold::watch(layout.clone(), base.clock.clone());
    show(
        NodeFacts::of(&identity, layout),
        &base,
        &uplink,
        ends.applied.subscribe(),
        hold.clone(),
        &storage,
        renewal.facts(),
    );
    let wish = Wish::Fleet {
        store: desired,
        received: ends.received,
        link: uplink.state(),
        hold,
        state: layout.state(),
    };
    let parts = ControlParts {
        wish,
        trust: TrustPolicy::Keys(trust),
        blobs: uplink.blobs(),
        shelf: Shelf::new(layout),
        applied: ends.applied,
        journal: journal.clone(),
        storage: storage.clone(),
    };
    let running = Running::start(config, &base, parts).await;
    let telemetry = summaries(&base, &running, &uplink, storage, layout, &stop);
    let home = Home::of(&identity, layout);
    let pipelines = start_pipelines(config, home, &base, &running, &stop);

    stop.wait().await;
    base.listeners.end().await;
    ended("pipelines", pipelines).await;
    ended("telemetry", telemetry).await;
    running.end().await;
    renewal.end().await;
    drop(journal);
    ended("journal", writer).await;
    uplink.end().await;
    Ok(())
}

/// Begins to write windows into the outbox.
fn summaries(
    base: &Base,
    running: &Running,
    uplink: &Uplink,
    storage: StorageHealth,
    layout: &Layout,
    stop: &Stop,
) -> JoinHandle<()> {
    let sink = OutboxSink {
        outbox: uplink.outbox(),
        storage,
    };
    let telemetry = telemetry(base, running, uplink.stats(), layout, sink);
    tokio::spawn(telemetry.run(stop.wait()))
}

/// Begins to open the way to the cloud.
fn uplink(
    config: &RunConfig,
    identity: &StoredIdentity,
    layout: &Layout,
    base: &Base,
    (storage, journal): (&StorageHealth, &Journal),
    stop: &Stop,
) -> Result<(Uplink, UplinkEnds), AppError> {
    let parts = UplinkParts {
        config: link_config(config, identity, base.boot)?,
        tls: identity.tls(),
        outbox: layout.outbox(),
        limits: config.storage,
        networks: layout.networks(),
        hard_examples: Arc::new(Answers::new(
            layout.hard_examples(),
            config.cloud.hard_examples_permission(),
        )),
        storage: storage.clone(),
        journal: journal.clone(),
    };
    Ok(Uplink::start(parts, stop))
}

/// Begins to look after the certificate.
fn renewal(
    config: &RunConfig,
    identity: &Arc<StoredIdentity>,
    uplink: &Uplink,
    server_time_ms: watch::Receiver<u64>,
    journal: &Journal,
) -> Renewal {
    let cloud = config.cloud.api.as_ref().unwrap_or(&identity.file.cloud);
    Renewal::spawn(renew::Parts {
        identity: Arc::clone(identity),
        cloud: cloud.clone(),
        connector: config.connector.clone(),
        link: uplink.state(),
        server_time_ms,
        journal: journal.clone(),
    })
}

/// Lets `edge-agent status` see what the parts know.
fn show(
    node: NodeFacts,
    base: &Base,
    uplink: &Uplink,
    applied: watch::Receiver<Applied>,
    hold: watch::Receiver<Option<Hold>>,
    storage: &StorageHealth,
    certificate: watch::Receiver<CertificateFacts>,
) {
    let fleet = FleetSources {
        link: uplink.since(),
        received: uplink.received(),
        outbox: uplink.outbox(),
        hold,
        certificate,
    };
    base.show(node, Some(fleet), applied, storage);
}

/// Says where this agent listens, now or once the disk lets it.
fn tell_addresses(data_dir: &DataDir, base: &Base, storage: &StorageHealth, stop: &Stop) {
    if let Some(problem) = data_dir.read_only() {
        storage.note(Part::DataDirectory, &Err::<(), _>(problem));
    }
    tokio::spawn(addresses::write_when_possible(
        data_dir.layout().clone(),
        Addresses::of(&base.listeners),
        storage.clone(),
        stop.wait(),
    ));
}

fn warn_without_trust(layout: &Layout) {
    tracing::warn!(
        "no trust key: no package will be accepted; add one with `edge-agent enroll --trust-key FILE` or in {}",
        layout.trust().display()
    );
}

fn link_config(
    config: &RunConfig,
    identity: &StoredIdentity,
    boot: BootId,
) -> Result<LinkConfig, AppError> {
    let mut instance = [0; 16];
    SystemRandom::new()
        .fill(&mut instance)
        .map_err(|_| AppError::System {
            operation: "draw the identity of this process",
            source: std::io::Error::other("the system gives no random bytes"),
        })?;
    let given = |over: &Option<String>, enrolled: &str| {
        over.clone()
            .or_else(|| (!enrolled.is_empty()).then(|| enrolled.to_owned()))
    };
    Ok(LinkConfig {
        quic: given(&config.cloud.quic, &identity.file.quic)
            .filter(|_| config.cloud.transport != Transports::Websocket),
        websocket: given(&config.cloud.websocket, &identity.file.websocket)
            .filter(|_| config.cloud.transport != Transports::Quic),
        connector: config.connector.clone(),
        probing: config.cloud.probe_quic.resolved(),
        node_uid: identity.node.uid,
        instance: InstanceId::from_bytes(instance),
        boot,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: vec![
            CAPABILITY_PIPELINES.to_owned(),
            hard_example::CAPABILITY.to_owned(),
        ],
        platform: Platform {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            onnxruntime_version: String::new(),
        },
    })
}

fn tell_start(journal: &Journal, damages: &[Damage]) {
    let started = format!("edge-agent {} started", env!("CARGO_PKG_VERSION"));
    journal.record(Severity::Normal, "AgentStarted", None, &started);
    for damage in damages {
        let message = format!("{}: {}", damage.path.display(), damage.problem);
        journal.record(Severity::Warning, "DesiredDamaged", None, &message);
    }
}
