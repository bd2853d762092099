//! Running in a fleet: what the cloud wants, also while it is out of reach.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millwright_proto::ids::{BootId, InstanceId};
use millwright_proto::link::{Applied, Platform};
use millwright_summary::LinkStats;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use super::running::{Parts, Running, ended, start_mqtt, telemetry};
use super::sink::OutboxSink;
use super::stop::Stop;
use super::{AppError, Base, addresses};
use crate::config::{RunConfig, Transports};
use crate::control::Wish;
use crate::data_dir::{DataDir, Layout};
use crate::desired::{Damage, DesiredStore};
use crate::fetch::{Shelf, TrustPolicy};
use crate::identity::{StoredIdentity, trust};
use crate::journal::{Journal, Severity};
use crate::link::{Link, LinkChannels, LinkConfig, ReceivedDesired};
use crate::renew::{self, Renewal};
use crate::store::{Outbox, RecoveryNote, StateStore};

/// Longest time the link gets to send what is left and say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(3);

/// Runs until `stop`. Nothing here waits for a session.
pub(super) async fn run(config: &RunConfig, data_dir: &Path, stop: Stop) -> Result<(), AppError> {
    let data_dir = DataDir::open(data_dir)?;
    let layout = data_dir.layout();
    let identity = Arc::new(StoredIdentity::load(layout)?);
    let trust = trust::load(layout)?;
    let (desired, damages) = DesiredStore::open(layout)?;
    let (state, state_notes) = StateStore::open(layout.state()).await?;
    let (outbox, outbox_notes) = Outbox::open(layout.outbox(), config.storage).await?;
    let floor_ms = identity.clock().floor_s().saturating_mul(1000);
    let base = Base::start(config, floor_ms, &stop).await?;
    addresses::write(layout, base.http.address)?;

    let (journal, writer) = Journal::storing(base.boot, base.clock.clone(), outbox.clone());
    let writer = tokio::spawn(writer.run());
    tell_start(&journal, &damages);
    tell_recovery(&journal, state_notes.iter().chain(&outbox_notes));
    if trust.is_empty() {
        warn_without_trust(layout);
    }

    let link_config = link_config(config, &identity, base.boot)?;
    let (link, ends) = connect(link_config, &identity, &outbox, state.clone());
    let renewal = Renewal::spawn(renew::Parts {
        identity: Arc::clone(&identity),
        cloud: (config.cloud.api.as_ref())
            .unwrap_or(&identity.file.cloud)
            .clone(),
        link: link.state(),
        server_time_ms: ends.server_time_ms,
        journal: journal.clone(),
    });
    let wish = Wish::Fleet {
        store: desired,
        received: ends.received,
        link: link.state(),
        state,
    };
    let parts = Parts {
        wish,
        trust: TrustPolicy::Keys(trust),
        blobs: link.blobs(),
        shelf: Shelf::new(layout),
        applied: ends.applied,
        journal: journal.clone(),
    };
    let running = Running::start(config, &base, parts).await;
    let sink = OutboxSink(outbox.clone());
    let telemetry = telemetry(&base, &running, link_stats(&link), layout, sink);
    let telemetry = tokio::spawn(telemetry.run(stop.wait()));
    let client_id = format!("edge-agent-{}", identity.node.node);
    let mqtt = start_mqtt(config, &client_id, &base, &stop);

    stop.wait().await;
    base.http.end().await;
    if let Some(mqtt) = mqtt {
        ended("MQTT", mqtt).await;
    }
    ended("telemetry", telemetry).await;
    running.end().await;
    renewal.end().await;
    drop(journal);
    ended("journal", writer).await;
    say_goodbye(link).await;
    outbox.close().await;
    Ok(())
}

fn warn_without_trust(layout: &Layout) {
    tracing::warn!(
        "no trust key: no package will be accepted; add one with `edge-agent enroll --trust-key FILE` or in {}",
        layout.trust().display()
    );
}

async fn say_goodbye(link: Link) {
    if tokio::time::timeout(GOODBYE_LIMIT, link.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("the link did not end within {GOODBYE_LIMIT:?}");
    }
}

/// The control loop's ends of the link.
struct LinkEnds {
    received: watch::Receiver<Option<ReceivedDesired>>,
    applied: watch::Sender<Applied>,
    server_time_ms: watch::Receiver<u64>,
}

fn connect(
    config: LinkConfig,
    identity: &StoredIdentity,
    outbox: &Outbox,
    memory: StateStore,
) -> (Link, LinkEnds) {
    let (desired, received) = watch::channel(None);
    let (applied, applied_receiver) = watch::channel(Applied::default());
    let (time_sender, server_time_ms) = watch::channel(0);
    let channels = LinkChannels {
        desired,
        applied: applied_receiver,
        server_time_ms: time_sender,
    };
    let link = Link::spawn(
        config,
        &identity.tls(),
        outbox.clone(),
        Some(memory),
        channels,
    );
    let ends = LinkEnds {
        received,
        applied,
        server_time_ms,
    };
    (link, ends)
}

/// Reads what the link has done since the start.
fn link_stats(link: &Link) -> Box<dyn Fn() -> LinkStats + Send + Sync> {
    let totals = link.totals_reader();
    Box::new(move || {
        let totals = totals();
        LinkStats {
            connected_ms: totals.connected_ms,
            quic_ms: totals.quic_ms,
            websocket_ms: totals.websocket_ms,
            reconnects: totals.reconnects,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
        }
    })
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
        capabilities: Vec::new(),
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

fn tell_recovery<'a>(journal: &Journal, notes: impl Iterator<Item = &'a RecoveryNote>) {
    for note in notes {
        journal.record(Severity::Warning, "StoreRecovered", None, &note.to_string());
    }
}
