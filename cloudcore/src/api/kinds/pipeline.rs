//! Pipelines: the intent that one runs on the selected nodes. A model that is not on a node yet is allowed; the node
//! says so in its status and begins when it is.

use fleet_api::{Pipeline, Resource};
use millwright_pipeline::PipelineError;
use millwright_proto::ids::{PipelineName, SiteName};

use super::deployment::SITES_MAX;
use super::{Attempt, Rules, Verb, parse};
use crate::api::failure::{Failure, ProblemType};
use crate::api::names::{check_label_key, check_label_value};

/// Bytes of one pipeline as a node gets it: a thousand fields with their paths take half of that.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Pipelines of one tenant: the planner reads all of them at once, and one that is on every node counts once.
const PIPELINES_MAX: usize = 1024;

impl Rules for Pipeline {
    const VERBS: &'static [Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name", "spec.model"];

    fn check(pipeline: &Resource<Self>) -> Result<(), Failure> {
        let name: PipelineName = parse("metadata.name", &pipeline.metadata.name)?;
        check_selector(pipeline)?;
        let on_node = pipeline.spec.on_node(name);
        let on_node = on_node.checked("pipeline").map_err(|fault| match fault {
            PipelineError::Document(fault) => fault.into(),
            PipelineError::Field { field, problem, .. } => {
                let detail = format!("{field} {problem}");
                Failure::invalid(field, detail)
            }
        })?;
        let bytes = serde_json::to_vec(&on_node).map_or(0, |document| document.len());
        if bytes > DOCUMENT_BYTES_MAX {
            let detail = format!(
                "the pipeline has {bytes} bytes as JSON; at most {DOCUMENT_BYTES_MAX} are taken"
            );
            return Err(Failure::invalid("spec", detail));
        }
        Ok(())
    }

    async fn create(
        attempt: Attempt<'_>,
        resource: Resource<Self>,
    ) -> Result<Resource<Self>, Failure> {
        let Attempt {
            actor, write, now, ..
        } = attempt;
        let others = write.count::<Self>(&actor.tenant).await?;
        if others >= PIPELINES_MAX {
            let detail = format!("there are {others} pipelines; at most {PIPELINES_MAX} are kept");
            return Err(Failure::new(ProblemType::TooLarge, detail)
                .hint("let one pipeline select more nodes, or delete those that select none"));
        }
        Ok(write.insert(&actor.tenant, resource, now).await?)
    }

    fn may_update(_: &Resource<Self>, _: &Resource<Self>) -> Result<(), Failure> {
        Ok(())
    }

    async fn before_delete(_: Attempt<'_>, _: &Resource<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

fn check_selector(pipeline: &Resource<Pipeline>) -> Result<(), Failure> {
    let Some(selector) = &pipeline.spec.0.selector else {
        return Ok(());
    };
    for (key, value) in &selector.match_labels {
        check_label_key(key)
            .and_then(|()| check_label_value(value))
            .map_err(|fault| Failure::invalid("spec.selector.matchLabels", fault))?;
    }
    if selector.sites.len() > SITES_MAX {
        let detail = format!("at most {SITES_MAX} sites; select by label instead");
        return Err(Failure::invalid("spec.selector.sites", detail));
    }
    for (index, site) in selector.sites.iter().enumerate() {
        parse::<SiteName>(&format!("spec.selector.sites[{index}]"), site)?;
    }
    Ok(())
}
