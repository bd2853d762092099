//! Rollouts: written by the planner, read by people.

use fleet_api::{Resource, Rollout};

use super::{Attempt, Rules, Verb};
use crate::api::failure::{Failure, ProblemType};

impl Rules for Rollout {
    const VERBS: &'static [Verb] = &[];
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "spec.deployment",
        "spec.model",
        "status.phase",
    ];

    fn check(_: &Resource<Self>) -> Result<(), Failure> {
        Err(read_only())
    }

    fn may_update(_: &Resource<Self>, _: &Resource<Self>) -> Result<(), Failure> {
        Err(read_only())
    }

    async fn before_delete(_: Attempt<'_>, _: &Resource<Self>) -> Result<(), Failure> {
        Err(read_only())
    }
}

fn read_only() -> Failure {
    Failure::new(
        ProblemType::MethodNotAllowed,
        "rollouts are written by cloudcore",
    )
    .hint("change the model deployment instead")
}
