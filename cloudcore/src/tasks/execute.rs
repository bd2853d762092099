//! Writes a plan: intent and its consequences in one transaction or not at all, then what is told of nodes.
//! No decisions.

use std::collections::BTreeMap;

use fleet_api::{ModelDeployment, Node, Pipeline, Rollout, Severity, Site};
use fleet_core::Plan;
use fleet_core::desired::Gap;
use fleet_core::plan::{self, NewDesired, Regarding};
use jiff::Timestamp;
use millwright_proto::ids::{Generation, ModelName, NodeName, NodeUid, PipelineName};
use millwright_proto::{Digest, link};
use prost::Message as _;
use thiserror::Error;

use super::plan::{
    deployment_status, node_status, pipeline_status, rollout_name, rollout_resource, rollout_status,
};
use crate::store::{
    NewEvent, Store, StoreError, StoredContent, StoredDesired, StoredPipeline, StoredSlot, Write,
};

/// Statuses of nodes written in one transaction: some 20 ms of the writer.
const STATUSES_PER_BITE: usize = 100;

/// Why a plan was not written; nothing of it was.
#[derive(Debug, Error)]
pub(crate) enum ExecuteError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A generation does not follow the stored one.
    #[error("generation {generation} of Node/{node} is not above the stored one")]
    Generation {
        /// The node.
        node: NodeName,
        /// Its planned generation.
        generation: Generation,
    },
    /// A version that a node keeps is neither pushed nor in the node's stored document.
    #[error(
        "nothing is known any more of the version of {model} that Node/{node} keeps: push it again"
    )]
    Package {
        /// The node.
        node: NodeName,
        /// The model.
        model: ModelName,
    },
    /// A pipeline that is planned for a node is not among those that were read.
    #[error("Pipeline/{pipeline} of Node/{node} went while it was planned for")]
    Pipeline {
        /// The node.
        node: NodeName,
        /// The pipeline.
        pipeline: PipelineName,
    },
}

/// What a desired document says of each pushed version, by the digest that stands for it, without how
/// long it has to prove itself.
type Packages = BTreeMap<Digest, link::ModelSlot>;

/// What desired documents are made of, by the digests that stand for it in a plan.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Every version that was pushed and not deleted since.
    pub(super) packages: Packages,
    /// The document of every pipeline.
    pub(super) pipelines: BTreeMap<Digest, Vec<u8>>,
}

/// Writes `plan`, which was made from the same facts as `parts`.
pub(super) async fn execute(
    store: &Store,
    tenant: &str,
    plan: &Plan,
    parts: &Parts,
    now: Timestamp,
) -> Result<(), ExecuteError> {
    let mut write = store.write().await?;
    for (node, desired) in &plan.desired {
        set_desired(&mut write, tenant, (node, desired), parts, now).await?;
    }
    rollouts(&mut write, tenant, plan, now).await?;
    for (name, status) in &plan.deployments {
        let status = deployment_status(name, status);
        write
            .change_status::<ModelDeployment>(tenant, name.as_str(), |stored| *stored = status)
            .await?;
    }
    for (name, status) in &plan.pipelines {
        let status = pipeline_status(status);
        write
            .change_status::<Pipeline>(tenant, name.as_str(), |stored| *stored = status)
            .await?;
    }
    for (name, status) in &plan.sites {
        write
            .change_status::<Site>(tenant, name.as_str(), |stored| {
                stored.nodes = status.nodes;
                stored.connected = status.connected;
            })
            .await?;
    }
    for event in &plan.events {
        tell(&mut write, tenant, event, now).await?;
    }
    write.commit().await?;
    node_statuses(store, tenant, plan).await
}

/// What is told of nodes depends on nothing else and is told again when it is cut off, so it goes in bites:
/// a fleet that comes back changes all of it, and its Hellos wait for the same writer.
async fn node_statuses(store: &Store, tenant: &str, plan: &Plan) -> Result<(), ExecuteError> {
    let mut left = plan.nodes.iter().peekable();
    while left.peek().is_some() {
        let mut write = store.write().await?;
        for (name, status) in left.by_ref().take(STATUSES_PER_BITE) {
            let status = node_status(status);
            write
                .change_status::<Node>(tenant, name.as_str(), |stored| *stored = status)
                .await?;
        }
        write.commit().await?;
    }
    Ok(())
}

async fn set_desired(
    write: &mut Write,
    tenant: &str,
    (node, desired): (&NodeName, &NewDesired),
    parts: &Parts,
    now: Timestamp,
) -> Result<(), ExecuteError> {
    let mut models = Vec::with_capacity(desired.content.slots.len());
    for (model, slot) in &desired.content.slots {
        let package = match parts.packages.get(&slot.package) {
            Some(package) => package.clone(),
            None => kept(write, desired.uid, (node, model)).await?,
        };
        models.push(link::ModelSlot {
            prove_for_ms: slot.prove_for_ms,
            allow_gap: slot.gap == Gap::Allowed,
            ..package
        });
    }
    let document = link::DesiredDocument {
        models,
        summary_window_ms: desired.content.summary_window_ms,
        pipelines: pipelines(node, desired, parts)?,
    };
    let content = content(desired);
    let document = document.encode_to_vec();
    let stored = StoredDesired {
        generation: desired.generation,
        digest: Digest::of(&document),
        document,
    };
    let owner = (tenant, desired.uid);
    if write.set_desired(owner, &stored, &content, now).await? {
        return Ok(());
    }
    Err(ExecuteError::Generation {
        node: node.clone(),
        generation: desired.generation,
    })
}

/// The documents of its pipelines, ordered by name.
fn pipelines(
    node: &NodeName,
    desired: &NewDesired,
    parts: &Parts,
) -> Result<Vec<link::PipelineDocument>, ExecuteError> {
    let pipelines = desired.content.pipelines.iter().map(|(name, digest)| {
        let document = parts.pipelines.get(digest);
        let document = document.ok_or_else(|| ExecuteError::Pipeline {
            node: node.clone(),
            pipeline: name.clone(),
        })?;
        Ok(link::PipelineDocument {
            name: name.to_string(),
            document: document.clone().into(),
        })
    });
    pipelines.collect()
}

/// What the stored document says of a model: its version was deleted, and the node keeps it.
async fn kept(
    write: &mut Write,
    uid: NodeUid,
    (node, model): (&NodeName, &ModelName),
) -> Result<link::ModelSlot, ExecuteError> {
    let document = write.desired_document(uid).await?.unwrap_or_default();
    let document = link::DesiredDocument::decode(&document[..]).unwrap_or_default();
    let mut models = document.models.into_iter();
    let slot = models.find(|slot| slot.model == model.as_str());
    slot.ok_or_else(|| ExecuteError::Package {
        node: node.clone(),
        model: model.clone(),
    })
}

/// A desired state as the planner will compare it.
fn content(desired: &NewDesired) -> StoredContent {
    let since = |model| {
        desired
            .since
            .get(model)
            .copied()
            .unwrap_or(desired.generation)
    };
    let content = &desired.content;
    let slots = content.slots.iter().map(|(model, slot)| StoredSlot {
        model: model.to_string(),
        version: slot.version.to_string(),
        package: slot.package,
        prove_for_ms: slot.prove_for_ms,
        allow_gap: slot.gap == Gap::Allowed,
        since: since(model).get(),
        adopted: slot.adopted,
    });
    let pipelines = content.pipelines.iter();
    let pipelines = pipelines.map(|(name, document)| StoredPipeline {
        name: name.to_string(),
        document: *document,
    });
    StoredContent {
        slots: slots.collect(),
        pipelines: pipelines.collect(),
        summary_window_ms: content.summary_window_ms,
    }
}

async fn rollouts(
    write: &mut Write,
    tenant: &str,
    plan: &Plan,
    now: Timestamp,
) -> Result<(), ExecuteError> {
    for (name, number) in &plan.forgotten {
        let name = rollout_name(name, *number);
        write.remove::<Rollout>(tenant, &name).await?;
    }
    for ((deployment, number), rollout) in &plan.rollouts {
        let name = rollout_name(deployment, *number);
        let status = rollout_status(rollout);
        let exists = write
            .change_status::<Rollout>(tenant, &name, |stored| *stored = status)
            .await?;
        if !exists {
            let resource = rollout_resource(deployment, *number, rollout);
            write.insert(tenant, resource, now).await?;
        }
    }
    Ok(())
}

async fn tell(
    write: &mut Write,
    tenant: &str,
    event: &plan::Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    let regarding = match &event.regarding {
        Regarding::Node(name) => format!("Node/{name}"),
        Regarding::Pipeline(name) => format!("Pipeline/{name}"),
        Regarding::Deployment(name) => format!("ModelDeployment/{name}"),
        Regarding::Rollout(name, number) => format!("Rollout/{}", rollout_name(name, *number)),
    };
    let severity = match event.severity {
        plan::Severity::Normal => Severity::Normal,
        plan::Severity::Warning => Severity::Warning,
    };
    let told = NewEvent {
        tenant,
        time: now,
        severity,
        reason: event.reason,
        message: &event.message,
        regarding: &regarding,
    };
    write.event(&told).await
}
