//! Join tokens: the secret is in the answer to the creation and nowhere else.

use std::time::Duration;

use fleet_api::{JoinToken, Resource, Site};
use millwright_proto::ids::{NodeName, SiteName};

use super::{Attempt, Rules, Verb, parse, same_spec};
use crate::api::failure::{Failure, ProblemType};
use crate::pki::random;
use crate::store::StoredJoinToken;

/// A week: longer than any roll-out of boxes, short enough for a slip of paper.
const TTL_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// Devices one token can let in.
const USES_MAX: u32 = 10_000;

impl Rules for JoinToken {
    const VERBS: &'static [Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name", "spec.site"];

    fn check(token: &Resource<Self>) -> Result<(), Failure> {
        // The same grammar as a node's name: a DNS label.
        parse::<NodeName>("metadata.name", &token.metadata.name).map_err(|_| {
            let detail = "a join token's name is 1 to 63 characters of a-z, 0-9 and -";
            Failure::invalid("metadata.name", detail)
        })?;
        parse::<SiteName>("spec.site", &token.spec.site)?;
        if !(1..=USES_MAX).contains(&token.spec.uses) {
            return Err(Failure::invalid("spec.uses", format!("1 to {USES_MAX}")));
        }
        if !(1..=TTL_SECONDS_MAX).contains(&token.spec.ttl_seconds) {
            let detail = format!("1 to {TTL_SECONDS_MAX} (a week)");
            return Err(Failure::invalid("spec.ttlSeconds", detail));
        }
        Ok(())
    }

    async fn create(
        attempt: Attempt<'_>,
        mut token: Resource<Self>,
    ) -> Result<Resource<Self>, Failure> {
        let Attempt {
            app,
            actor,
            write,
            now,
        } = attempt;
        let site = &token.spec.site;
        if write.find::<Site>(&actor.tenant, site).await?.is_none() {
            let detail = format!("there is no site named `{site}`");
            return Err(Failure::invalid("spec.site", detail).hint("create the site first"));
        }
        let id = hex::encode(random::<8>()?);
        let secret = millwright_identity::JoinToken::new(&id, random()?, app.pki.authority().pin())
            .expect("hex digits are a DNS label");
        let ttl = Duration::from_secs(u64::from(token.spec.ttl_seconds));
        let expires = now.checked_add(ttl).unwrap_or(now);
        let stored = StoredJoinToken {
            id,
            tenant: actor.tenant.clone(),
            name: token.metadata.name.clone(),
            site: token.spec.site.clone(),
            secret_hash: secret.secret.digest(),
            uses_left: token.spec.uses,
            expires,
            revoked: false,
        };
        token.status.uses_left = token.spec.uses;
        token.status.expires = Some(expires);
        let mut token = write.insert(&actor.tenant, token, now).await?;
        write.insert_join_token(&stored).await?;
        token.status.token = Some(secret.to_text().expose().to_owned());
        Ok(token)
    }

    fn may_update(old: &Resource<Self>, new: &Resource<Self>) -> Result<(), Failure> {
        if same_spec(old, new) {
            return Ok(());
        }
        Err(
            Failure::new(ProblemType::Immutable, "a join token does not change")
                .at("spec")
                .hint("create another one"),
        )
    }

    async fn before_delete(attempt: Attempt<'_>, old: &Resource<Self>) -> Result<(), Failure> {
        let Attempt { actor, write, .. } = attempt;
        write
            .remove_join_token(&actor.tenant, &old.metadata.name)
            .await?;
        Ok(())
    }
}
