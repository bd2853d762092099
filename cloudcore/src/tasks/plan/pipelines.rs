//! Pipelines between the API, the wire, the store and fleet-core: nothing decided.

use std::collections::{BTreeMap, BTreeSet};

use fleet_api::{NodePipelineStatus, PipelineState, PipelineStatus, Resource};
use fleet_core::fleet::pipeline as core;
use fleet_core::fleet::selector::Selector;
use jiff::Timestamp;
use millwright_proto::ids::{PipelineName, SiteName};
use millwright_proto::{Digest, link};

use super::facts::{Damaged, cut, damaged, parse};
use super::statuses::{conditions, conditions_of};
use crate::store::StoredPipeline;

/// A pipeline as fleet-core has it, and its document as nodes get it.
pub(super) fn pipeline(
    resource: &Resource<fleet_api::Pipeline>,
) -> Result<(PipelineName, core::Pipeline, Vec<u8>), Damaged> {
    let (kind, name) = ("Pipeline", &resource.metadata.name);
    let id: PipelineName = parse(name, kind, name, "name")?;
    let document = serde_json::to_vec(&resource.spec.on_node(id.clone()))
        .map_err(|_| damaged(kind, name, "spec"))?;
    let selector = resource.spec.0.selector.clone().unwrap_or_default();
    let site = |site: &String| parse::<SiteName>(site, kind, name, "site");
    let sites: Result<BTreeSet<_>, _> = selector.sites.iter().map(site).collect();
    let created = resource.metadata.creation_timestamp;
    let status = &resource.status;
    let pipeline = core::Pipeline {
        generation: resource.metadata.generation.unwrap_or(1),
        created_ms: created.map_or(0, Timestamp::as_millisecond),
        selector: Selector {
            labels: selector.match_labels,
            sites: sites?,
        },
        document: Digest::of(&document),
        document_bytes: document.len(),
        status: core::PipelineStatus {
            observed_generation: status.observed_generation,
            conditions: conditions_of(&status.conditions),
            selected: status.selected,
            running: status.running,
            refused: status.refused,
        },
    };
    Ok((id, pipeline, document))
}

/// How a pipeline is doing, as the API tells it.
pub(in crate::tasks) fn pipeline_status(status: &core::PipelineStatus) -> PipelineStatus {
    PipelineStatus {
        observed_generation: status.observed_generation,
        conditions: conditions(&status.conditions),
        selected: status.selected,
        running: status.running,
        refused: status.refused,
    }
}

/// What a node reports of one pipeline; `None` when this cloudcore does not understand it.
pub(super) fn report(status: link::PipelineStatus) -> Option<(PipelineName, core::PipelineReport)> {
    let state = match status.state() {
        link::PipelineState::Unspecified => return None,
        link::PipelineState::Starting => core::PipelineState::Starting,
        link::PipelineState::Running => core::PipelineState::Running,
        link::PipelineState::SourceUnreachable => core::PipelineState::SourceUnreachable,
        link::PipelineState::WaitingForModel => core::PipelineState::WaitingForModel,
        link::PipelineState::Unfit => core::PipelineState::Unfit,
        link::PipelineState::SinkFailing => core::PipelineState::SinkFailing,
        link::PipelineState::Refused => core::PipelineState::Refused,
    };
    let document = status.digest.as_ref()?;
    let report = core::PipelineReport {
        document: Some(Digest::try_from(document).ok()?),
        state,
        reason: cut(status.reason),
        message: cut(status.message),
    };
    Some((status.pipeline.parse().ok()?, report))
}

/// The pipelines a node was told last; `None` when no cloudcore wrote that.
pub(super) fn desired(stored: &[StoredPipeline]) -> Option<BTreeMap<PipelineName, Digest>> {
    let pipelines = stored.iter();
    pipelines
        .map(|pipeline| Some((pipeline.name.parse().ok()?, pipeline.document)))
        .collect()
}

/// The pipelines of a node, as the API tells them.
pub(super) fn on_node(
    pipelines: &BTreeMap<PipelineName, core::PipelineReport>,
) -> Vec<NodePipelineStatus> {
    let told = pipelines.iter().map(|(name, report)| NodePipelineStatus {
        pipeline: name.to_string(),
        state: match report.state {
            core::PipelineState::Pending => PipelineState::Pending,
            core::PipelineState::Starting => PipelineState::Starting,
            core::PipelineState::Running => PipelineState::Running,
            core::PipelineState::SourceUnreachable => PipelineState::SourceUnreachable,
            core::PipelineState::WaitingForModel => PipelineState::WaitingForModel,
            core::PipelineState::Unfit => PipelineState::Unfit,
            core::PipelineState::SinkFailing => PipelineState::SinkFailing,
            core::PipelineState::Refused => PipelineState::Refused,
        },
        reason: report.reason.clone(),
        message: report.message.clone(),
    });
    told.collect()
}

/// The same, as stored.
pub(super) fn on_node_of(
    pipelines: &[NodePipelineStatus],
) -> BTreeMap<PipelineName, core::PipelineReport> {
    let known = pipelines.iter().filter_map(|told| {
        let report = core::PipelineReport {
            document: None,
            state: match told.state {
                PipelineState::Pending => core::PipelineState::Pending,
                PipelineState::Starting => core::PipelineState::Starting,
                PipelineState::Running => core::PipelineState::Running,
                PipelineState::SourceUnreachable => core::PipelineState::SourceUnreachable,
                PipelineState::WaitingForModel => core::PipelineState::WaitingForModel,
                PipelineState::Unfit => core::PipelineState::Unfit,
                PipelineState::SinkFailing => core::PipelineState::SinkFailing,
                PipelineState::Refused => core::PipelineState::Refused,
            },
            reason: told.reason.clone(),
            message: told.message.clone(),
        };
        Some((told.pipeline.parse().ok()?, report))
    });
    known.collect()
}
