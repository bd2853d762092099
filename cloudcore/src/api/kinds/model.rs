//! Models: a name and a description; the versions carry the files.

use fleet_api::{Model, ModelVersion, Resource};
use millwright_proto::ids::ModelName;

use super::{Attempt, Rules, Verb, parse};
use crate::api::failure::{Failure, ProblemType};

/// Longest description.
const DESCRIPTION_BYTES_MAX: usize = 4096;

impl Rules for Model {
    const VERBS: &'static [Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name"];

    fn check(model: &Resource<Self>) -> Result<(), Failure> {
        parse::<ModelName>("metadata.name", &model.metadata.name)?;
        let description = model.spec.description.as_deref().unwrap_or_default();
        if description.len() > DESCRIPTION_BYTES_MAX {
            let detail = format!("at most {DESCRIPTION_BYTES_MAX} bytes, please");
            return Err(Failure::invalid("spec.description", detail));
        }
        Ok(())
    }

    fn may_update(_: &Resource<Self>, _: &Resource<Self>) -> Result<(), Failure> {
        Ok(())
    }

    async fn before_delete(attempt: Attempt<'_>, old: &Resource<Self>) -> Result<(), Failure> {
        let Attempt { actor, write, .. } = attempt;
        let versions = write.all::<ModelVersion>(&actor.tenant).await?;
        let model = &old.metadata.name;
        match versions.iter().find(|version| version.spec.model == *model) {
            None => Ok(()),
            Some(version) => {
                let name = &version.metadata.name;
                let detail = format!("version `{name}` of it exists");
                Err(Failure::new(ProblemType::InUse, detail).hint(format!(
                    "delete its versions first: fleetctl delete modelversion {name}"
                )))
            }
        }
    }
}
