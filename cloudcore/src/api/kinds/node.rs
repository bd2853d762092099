//! Nodes: made by enrollment, ended by decommission; people set labels.

use fleet_api::{Node, NodePhase, Resource};
use millwright_proto::ids::NodeName;

use super::{Attempt, Rules, Verb, parse, same_spec};
use crate::api::failure::{Failure, ProblemType};

impl Rules for Node {
    const VERBS: &'static [Verb] = &[Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name", "spec.site", "status.phase"];

    fn check(node: &Resource<Self>) -> Result<(), Failure> {
        parse::<NodeName>("metadata.name", &node.metadata.name).map(drop)
    }

    fn may_update(old: &Resource<Self>, new: &Resource<Self>) -> Result<(), Failure> {
        if same_spec(old, new) {
            return Ok(());
        }
        let detail = "the site of a node does not change";
        Err(Failure::new(ProblemType::Immutable, detail)
            .at("spec.site")
            .hint("decommission the node and enroll it at the other site"))
    }

    async fn before_delete(_: Attempt<'_>, old: &Resource<Self>) -> Result<(), Failure> {
        if old.status.phase == NodePhase::Decommissioned {
            return Ok(());
        }
        let name = &old.metadata.name;
        let detail = format!("node `{name}` is enrolled");
        Err(Failure::new(ProblemType::InUse, detail).hint(format!(
            "take it out of service first: fleetctl node decommission {name}"
        )))
    }
}
