//! What each kind allows: the rules that a write must pass, one file per kind.
//!
//! Rules run inside the write transaction, so what they saw still holds when it commits.

mod deployment;
mod join_token;
mod model;
mod model_version;
mod node;
mod pipeline;
mod rollout;
mod site;

use std::future::Future;

use fleet_api::{Kind, Resource};
use jiff::Timestamp;

use super::failure::Failure;
use crate::app::App;
use crate::store::{Actor, Write};

/// What people may do with objects of a kind beside reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `POST` on the collection.
    Create,
    /// `PUT` on an object.
    Update,
    /// `DELETE` on an object.
    Delete,
}

/// What a rule may look at: one write on behalf of somebody.
pub(crate) struct Attempt<'a> {
    /// Registry, authority.
    pub(crate) app: &'a App,
    /// Who wants it.
    pub(crate) actor: &'a Actor,
    /// The transaction.
    pub(crate) write: &'a mut Write,
    /// When.
    pub(crate) now: Timestamp,
}

/// The rules of one kind.
pub(crate) trait Rules: Kind {
    /// What people may do.
    const VERBS: &'static [Verb];
    /// Fields that `fieldSelector` knows.
    const FIELDS: &'static [&'static str];

    /// Checks what can be checked without looking at other objects.
    fn check(resource: &Resource<Self>) -> Result<(), Failure>;

    /// Stores a new object whose name is free. The status of `resource` is the default one.
    fn create(
        attempt: Attempt<'_>,
        resource: Resource<Self>,
    ) -> impl Future<Output = Result<Resource<Self>, Failure>> + Send {
        async move {
            let Attempt {
                actor, write, now, ..
            } = attempt;
            Ok(write.insert(&actor.tenant, resource, now).await?)
        }
    }

    /// Whether `new` may replace `old`; both have the same name and status.
    fn may_update(old: &Resource<Self>, new: &Resource<Self>) -> Result<(), Failure>;

    /// Whether `old` may go, and what goes with it.
    fn before_delete(
        attempt: Attempt<'_>,
        old: &Resource<Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Whether two specs are the same document.
pub(crate) fn same_spec<K: Kind>(one: &Resource<K>, other: &Resource<K>) -> bool {
    // As text: the fields of a row are a map whose order counts.
    let document = |resource: &Resource<K>| serde_json::to_string(&resource.spec).ok();
    document(one) == document(other)
}

/// Parses a name, saying which field holds it.
pub(crate) fn parse<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|fault| Failure::invalid(field, fault))
}
