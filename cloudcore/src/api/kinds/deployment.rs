//! Model deployments: the intent. A version that does not exist yet is allowed; the planner says so
//! in a condition and begins when it is pushed.

use std::collections::BTreeSet;

use fleet_api::{ModelDeployment, ModelDeploymentSpec, Resource};
use millwright_proto::ids::{DeploymentName, ModelName, SiteName, Version};

use super::{Attempt, Rules, Verb, parse};
use crate::api::failure::{Failure, ProblemType};
use crate::api::names::{check_label_key, check_label_value};

/// Waves of one deployment; more than this is a percentage, not a plan.
const WAVES_MAX: usize = 32;

/// Sites named by one selector.
pub(super) const SITES_MAX: usize = 1024;

/// Longest time the replaced version stays loaded: a day.
const PROVE_FOR_SECONDS_MAX: u32 = 24 * 60 * 60;

/// `<deployment>-<number>` must be a name too.
const NAME_LENGTH_MAX: usize = 52;

impl Rules for ModelDeployment {
    const VERBS: &'static [Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name", "spec.model", "spec.version"];

    fn check(deployment: &Resource<Self>) -> Result<(), Failure> {
        let name = &deployment.metadata.name;
        parse::<DeploymentName>("metadata.name", name)?;
        if name.len() > NAME_LENGTH_MAX {
            let detail = format!("at most {NAME_LENGTH_MAX} characters: its rollouts add a number");
            return Err(Failure::invalid("metadata.name", detail));
        }
        let spec = &deployment.spec;
        parse::<ModelName>("spec.model", &spec.model)?;
        parse::<Version>("spec.version", &spec.version)?;
        check_selector(spec)?;
        check_strategy(spec)
    }

    fn may_update(old: &Resource<Self>, new: &Resource<Self>) -> Result<(), Failure> {
        if old.spec.model == new.spec.model {
            return Ok(());
        }
        let detail = "a deployment stays with its model";
        Err(Failure::new(ProblemType::Immutable, detail)
            .at("spec.model")
            .hint("make another deployment for the other model"))
    }

    async fn before_delete(_: Attempt<'_>, _: &Resource<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

fn check_selector(spec: &ModelDeploymentSpec) -> Result<(), Failure> {
    for (key, value) in &spec.selector.match_labels {
        check_label_key(key)
            .and_then(|()| check_label_value(value))
            .map_err(|fault| Failure::invalid("spec.selector.matchLabels", fault))?;
    }
    if spec.selector.sites.len() > SITES_MAX {
        let detail = format!("at most {SITES_MAX} sites; select by label instead");
        return Err(Failure::invalid("spec.selector.sites", detail));
    }
    for (index, site) in spec.selector.sites.iter().enumerate() {
        parse::<SiteName>(&format!("spec.selector.sites[{index}]"), site)?;
    }
    Ok(())
}

fn check_strategy(spec: &ModelDeploymentSpec) -> Result<(), Failure> {
    let waves = &spec.strategy.waves;
    if waves.len() > WAVES_MAX {
        let detail = format!("at most {WAVES_MAX} waves");
        return Err(Failure::invalid("spec.strategy.waves", detail));
    }
    let mut names = BTreeSet::new();
    let mut percent = 0_u32;
    for (index, wave) in waves.iter().enumerate() {
        let field = |part: &str| format!("spec.strategy.waves[{index}].{part}");
        parse::<DeploymentName>(&field("name"), &wave.name).map_err(|_| {
            Failure::invalid(
                field("name"),
                "a wave's name is lower-case letters, digits and -",
            )
        })?;
        if !names.insert(&wave.name) {
            return Err(Failure::invalid(field("name"), "two waves have this name"));
        }
        if !(1..=100).contains(&wave.percent) {
            return Err(Failure::invalid(field("percent"), "1 to 100"));
        }
        percent += u32::from(wave.percent);
        if percent > 100 {
            let detail = "the waves up to this one take more than 100 percent";
            return Err(Failure::invalid(field("percent"), detail));
        }
    }
    if spec.strategy.max_unavailable == Some(0) {
        let detail = "at least 1: with 0 no node could ever change; leave it out to change a whole wave at once";
        return Err(Failure::invalid("spec.strategy.maxUnavailable", detail));
    }
    let prove_for = spec.strategy.prove_for_seconds;
    if prove_for.is_some_and(|seconds| seconds > PROVE_FOR_SECONDS_MAX) {
        let detail = format!("at most {PROVE_FOR_SECONDS_MAX} (a day)");
        return Err(Failure::invalid("spec.strategy.proveForSeconds", detail));
    }
    Ok(())
}
