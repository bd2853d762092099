//! From rows and API objects to the snapshot that fleet-core decides on.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use fleet_api::{Resource, WaveSpec};
use fleet_core::Snapshot;
use fleet_core::desired::{ADOPT_ANNOTATION, Content, Desired, Gap, REASSERT_ANNOTATION, Slot};
use fleet_core::fleet::condition::State;
use fleet_core::fleet::pipeline::PipelineSupport;
use fleet_core::fleet::selector::Selector;
use fleet_core::fleet::{
    Deployment, Extent, Liveness, Node, Platform, Report, ReportedCondition, SiteStatus, SlotReport,
};
use fleet_core::rollout::budget::Budget;
use fleet_core::rollout::{Strategy, waves};
use jiff::Timestamp;
use millwright_proto::ids::{
    DeploymentName, Generation, ModelName, ModelVersion, SiteName, Version,
};
use millwright_proto::{Digest, link};
use prost::Message as _;
use thiserror::Error;

use super::{pipelines, statuses};
use crate::store::{DesiredRow, DeviceRow, PlanningRows, SessionRow};
use crate::tasks::execute::Parts;

/// How long the replaced version stays loaded when a deployment does not say.
const PROVE_FOR_SECONDS_DEFAULT: u32 = 30;

/// Slots and conditions taken from one report. A node runs a handful of models; a report with more
/// is not believed beyond this.
const REPORTED_MAX: usize = 128;

/// Bytes taken from each text of a report: a few lines in a terminal.
const TEXT_BYTES_MAX: usize = 1024;

/// An object the planner cannot take, though the API lets none such in.
#[derive(Debug, Error)]
#[error("{object} holds a {what} that no cloudcore wrote: restore a backup, or delete it")]
pub(crate) struct Damaged {
    object: String,
    what: &'static str,
}

/// What a plan is made from and what its execution needs beside it.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) snapshot: Snapshot,
    pub(super) parts: Parts,
}

/// Gathers the facts of one tenant.
pub(super) fn gather(rows: &PlanningRows, summary_window_ms: u32) -> Result<Facts, Damaged> {
    let mut facts = Facts {
        snapshot: Snapshot {
            summary_window_ms,
            ..Snapshot::default()
        },
        parts: Parts::default(),
    };
    let snapshot = &mut facts.snapshot;
    for site in &rows.sites {
        let name: SiteName = parse(&site.metadata.name, "Site", &site.metadata.name, "name")?;
        let (nodes, connected) = (site.status.nodes, site.status.connected);
        snapshot.sites.insert(name, SiteStatus { nodes, connected });
    }
    for version in &rows.versions {
        let id: ModelVersion = parse(
            &version.metadata.name,
            "ModelVersion",
            &version.metadata.name,
            "name",
        )?;
        let package = package(version)?;
        let digest = Digest::of(&package.encode_to_vec());
        snapshot.versions.insert(id, digest);
        facts.parts.packages.insert(digest, package);
    }
    for resource in &rows.deployments {
        let (name, deployment) = deployment(resource)?;
        snapshot.deployments.insert(name, deployment);
    }
    for resource in &rows.rollouts {
        let (name, number, rollout) = statuses::rollout_of(resource)?;
        let history = snapshot.rollouts.entry(name).or_default();
        history.insert(number, rollout);
    }
    for resource in &rows.pipelines {
        let (name, pipeline, document) = pipelines::pipeline(resource)?;
        let documents = &mut facts.parts.pipelines;
        documents.insert(pipeline.document, document);
        snapshot.pipelines.insert(name, pipeline);
    }
    let mut devices = BTreeMap::new();
    for device in &rows.devices {
        // The last enrollment under a name is the node; those before it were decommissioned.
        devices.insert(device.name.as_str(), device);
    }
    for resource in &rows.nodes {
        let name = &resource.metadata.name;
        if let Some(device) = devices.get(name.as_str()) {
            let node = node(resource, device)?;
            snapshot
                .nodes
                .insert(parse(name, "Node", name, "name")?, node);
        }
    }
    Ok(facts)
}

pub(super) fn damaged(kind: &str, name: &str, what: &'static str) -> Damaged {
    let object = format!("{kind}/{name}");
    Damaged { object, what }
}

pub(super) fn parse<T: std::str::FromStr>(
    text: &str,
    kind: &str,
    name: &str,
    what: &'static str,
) -> Result<T, Damaged> {
    text.parse().map_err(|_| damaged(kind, name, what))
}

fn package(resource: &Resource<fleet_api::ModelVersion>) -> Result<link::ModelSlot, Damaged> {
    let name = &resource.metadata.name;
    let mut files = Vec::with_capacity(resource.spec.files.len());
    for file in &resource.spec.files {
        let digest: Digest = parse(&file.digest, "ModelVersion", name, "digest")?;
        files.push(link::PackageFile {
            path: file.path.clone(),
            digest: Some(digest.into()),
            size_bytes: file.size_bytes,
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(link::ModelSlot {
        model: resource.spec.model.clone(),
        version: resource.spec.version.clone(),
        bundle: resource.spec.bundle.clone().into_bytes().into(),
        files,
        prove_for_ms: 0,
        allow_gap: false,
    })
}

fn deployment(
    resource: &Resource<fleet_api::ModelDeployment>,
) -> Result<(DeploymentName, Deployment), Damaged> {
    let name = &resource.metadata.name;
    let (kind, spec) = ("ModelDeployment", &resource.spec);
    let site = |site: &String| parse::<SiteName>(site, kind, name, "site");
    let sites: Result<BTreeSet<_>, _> = spec.selector.sites.iter().map(site).collect();
    let seconds = spec.strategy.prove_for_seconds;
    let wave = |wave: &WaveSpec| waves::WaveSpec {
        name: wave.name.clone(),
        percent: wave.percent,
    };
    let at_most = spec.strategy.max_unavailable.and_then(NonZeroU32::new);
    let created = resource.metadata.creation_timestamp;
    let deployment = Deployment {
        generation: resource.metadata.generation.unwrap_or(1),
        created_ms: created.map_or(0, Timestamp::as_millisecond),
        target: ModelVersion {
            model: parse(&spec.model, kind, name, "model")?,
            version: parse(&spec.version, kind, name, "version")?,
        },
        selector: Selector {
            labels: spec.selector.match_labels.clone(),
            sites: sites?,
        },
        strategy: Strategy {
            waves: spec.strategy.waves.iter().map(wave).collect(),
            budget: at_most.map_or(Budget::WholeWave, Budget::AtMost),
            prove_for_ms: seconds
                .unwrap_or(PROVE_FOR_SECONDS_DEFAULT)
                .saturating_mul(1000),
            gap: match spec.strategy.gap {
                None | Some(fleet_api::Gap::Refused) => Gap::Refused,
                Some(fleet_api::Gap::Allowed) => Gap::Allowed,
            },
        },
        status: statuses::deployment_of(name, &resource.status),
    };
    Ok((parse(name, kind, name, "name")?, deployment))
}

fn node(resource: &Resource<fleet_api::Node>, device: &DeviceRow) -> Result<Node, Damaged> {
    let name = &resource.metadata.name;
    let decided = |annotation| {
        let number: &String = resource.metadata.annotations.get(annotation)?;
        number.parse().ok().map(Generation::new)
    };
    let session = device.session.as_ref();
    Ok(Node {
        uid: device.uid,
        site: parse(&resource.spec.site, "Node", name, "site")?,
        labels: resource.metadata.labels.clone(),
        phase: statuses::phase_of(device.phase),
        liveness: liveness(session),
        platform: session.map(|session| Platform {
            agent_version: session.agent_version.clone(),
            arch: session.arch.clone(),
            onnxruntime: Some(session.onnxruntime.clone()).filter(|version| !version.is_empty()),
        }),
        pipelines: session.map_or(PipelineSupport::Unknown, |session| session.pipelines),
        certificate_expires_ms: Some(device.certificate_expires_ms),
        report: session.map(report).unwrap_or_default(),
        desired: device.desired.as_ref().map(desired).transpose()?,
        memory: device.memory,
        reassert: decided(REASSERT_ANNOTATION),
        adopt: decided(ADOPT_ANNOTATION),
        status: statuses::node_of(&resource.status),
    })
}

fn liveness(session: Option<&SessionRow>) -> Liveness {
    match session.map(|session| (session.transport, session.last_seen_ms)) {
        None => Liveness::Silent { since_ms: None },
        Some((None, since_ms)) => Liveness::Silent {
            since_ms: Some(since_ms),
        },
        Some((Some(transport), last_seen_ms)) => Liveness::Connected {
            transport: statuses::transport_of(transport),
            last_seen_ms,
        },
    }
}

/// A report as far as it can be believed: what does not parse is left out, as if not yet told.
fn report(session: &SessionRow) -> Report {
    let mut report = Report {
        applied: session.applied,
        ..Report::default()
    };
    let Some(message) = session.message.as_deref() else {
        return report;
    };
    let Ok(applied) = link::Applied::decode(message) else {
        return report;
    };
    report.extent = Extent::Models;
    for slot in applied.slots.iter().take(REPORTED_MAX) {
        if let Some((model, slot)) = slot_report(slot) {
            report.slots.insert(model, slot);
        }
    }
    for pipeline in applied.pipelines.into_iter().take(REPORTED_MAX) {
        report.pipelines.extend(pipelines::report(pipeline));
    }
    for condition in applied.conditions.into_iter().take(REPORTED_MAX) {
        let told = ReportedCondition {
            state: if condition.holds {
                State::True
            } else {
                State::False
            },
            reason: cut(condition.reason),
            message: cut(condition.message),
        };
        report.conditions.insert(cut(condition.r#type), told);
    }
    report
}

fn slot_report(slot: &link::SlotStatus) -> Option<(ModelName, SlotReport)> {
    let report = SlotReport {
        version: slot.version.parse().ok()?,
        state: statuses::slot_state_of(slot.state())?,
        active: slot.active_version.parse::<Version>().ok(),
        reason: cut(slot.reason.clone()),
        message: cut(slot.message.clone()),
    };
    Some((slot.model.parse().ok()?, report))
}

fn desired(row: &DesiredRow) -> Result<Desired, Damaged> {
    let mut slots = BTreeMap::new();
    let mut since = BTreeMap::new();
    for slot in &row.content.slots {
        let of = |what| damaged("desired state", &row.digest.to_string(), what);
        let model: ModelName = slot.model.parse().map_err(|_| of("model"))?;
        since.insert(model.clone(), Generation::new(slot.since));
        let slot = Slot {
            version: slot.version.parse().map_err(|_| of("version"))?,
            package: slot.package,
            prove_for_ms: slot.prove_for_ms,
            gap: if slot.allow_gap {
                Gap::Allowed
            } else {
                Gap::Refused
            },
            adopted: slot.adopted,
        };
        slots.insert(model, slot);
    }
    Ok(Desired {
        generation: row.generation,
        digest: row.digest,
        content: Content {
            slots,
            pipelines: pipelines::desired(&row.content.pipelines)
                .ok_or_else(|| damaged("desired state", &row.digest.to_string(), "pipeline"))?,
            summary_window_ms: row.content.summary_window_ms,
        },
        since,
    })
}

pub(super) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
