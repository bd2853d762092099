//! Sites: created by people, deleted once nothing stands there.

use fleet_api::{JoinToken, Node, NodePhase, Resource, Site};
use millwright_proto::ids::SiteName;

use super::{Attempt, Rules, Verb, parse};
use crate::api::failure::{Failure, ProblemType};

/// Longest text for people.
const TEXT_LENGTH_MAX: usize = 256;

impl Rules for Site {
    const VERBS: &'static [Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name"];

    fn check(site: &Resource<Self>) -> Result<(), Failure> {
        parse::<SiteName>("metadata.name", &site.metadata.name)?;
        for (field, text) in [
            ("spec.displayName", &site.spec.display_name),
            ("spec.gridZone", &site.spec.grid_zone),
        ] {
            if text
                .as_ref()
                .is_some_and(|text| text.len() > TEXT_LENGTH_MAX)
            {
                let detail = format!("at most {TEXT_LENGTH_MAX} bytes, please");
                return Err(Failure::invalid(field, detail));
            }
        }
        if let Some(zone) = &site.spec.time_zone {
            let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
            if zone.is_empty() || zone.len() > 64 || !zone.bytes().all(plausible) {
                let detail = "not an IANA time zone, for example Europe/Berlin";
                return Err(Failure::invalid("spec.timeZone", detail));
            }
        }
        Ok(())
    }

    fn may_update(_: &Resource<Self>, _: &Resource<Self>) -> Result<(), Failure> {
        Ok(())
    }

    async fn before_delete(attempt: Attempt<'_>, old: &Resource<Self>) -> Result<(), Failure> {
        let Attempt { actor, write, .. } = attempt;
        let site = &old.metadata.name;
        let nodes = write.all::<Node>(&actor.tenant).await?;
        let stays = |node: &&Resource<Node>| {
            node.spec.site == *site && node.status.phase != NodePhase::Decommissioned
        };
        if let Some(node) = nodes.iter().find(stays) {
            let detail = format!("node `{}` is enrolled at site `{site}`", node.metadata.name);
            return Err(Failure::new(ProblemType::InUse, detail)
                .hint("decommission its nodes first: fleetctl node decommission NODE"));
        }
        let tokens = write.all::<JoinToken>(&actor.tenant).await?;
        if let Some(token) = tokens.iter().find(|token| token.spec.site == *site) {
            let name = &token.metadata.name;
            let detail = format!("join token `{name}` lets devices in at site `{site}`");
            return Err(Failure::new(ProblemType::InUse, detail)
                .hint(format!("delete it first: fleetctl delete jointoken {name}")));
        }
        Ok(())
    }
}
