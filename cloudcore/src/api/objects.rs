//! The five things done with objects of any kind: list, read, create, update, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fleet_api::{API_VERSION, Kind, List, ListMetadata, Resource};
use jiff::Timestamp;
use serde::Deserialize;

use super::failure::{Failure, ProblemType};
use super::kinds::{Attempt, Rules, same_spec};
use super::request::{Caller, Name, Params, Whole, WriteParams, resource};
use super::selector::{FieldSelector, LabelSelector};
use super::watch;
use crate::app::App;
use crate::store::{Actor, AuditEntry, Outcome, Write};

/// Objects in one page when `limit` is left out or larger.
pub(super) const PAGE_MAX: u32 = 500;

/// Query of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListParams {
    /// Which objects by label.
    label_selector: Option<String>,
    /// Which objects by field.
    field_selector: Option<String>,
    /// Most objects in the answer.
    limit: Option<u32>,
    /// From the page before.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    /// `1`: stream changes instead.
    watch: Option<String>,
    /// Watch: changes after this version.
    pub(super) resource_version: Option<String>,
}

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    fn parse<K: Rules>(params: &ListParams) -> Result<Self, Failure> {
        let labels = params.label_selector.as_deref().unwrap_or_default();
        let labels = labels
            .parse()
            .map_err(|fault: String| Failure::invalid("labelSelector", fault))?;
        let fields = params.field_selector.as_deref().unwrap_or_default();
        let fields = FieldSelector::parse(fields, K::FIELDS)
            .map_err(|fault| Failure::invalid("fieldSelector", fault))?;
        Ok(Self { labels, fields })
    }

    /// Whether `resource` is selected.
    pub(super) fn matches<K: Kind>(&self, resource: &Resource<K>) -> bool {
        let fields =
            || serde_json::to_value(resource).is_ok_and(|document| self.fields.matches(&document));
        self.labels.matches(&resource.metadata.labels) && (self.fields.is_empty() || fields())
    }
}

/// `GET /api/v1/<plural>`
pub(super) async fn list<K: Rules>(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Params(params): Params<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let selection = Selection::parse::<K>(&params)?;
    match params.watch.as_deref() {
        None | Some("0" | "false") => {}
        Some("1" | "true") => {
            let since = watch::start(&headers, params.resource_version.as_deref())?;
            return watch::stream::<K>(app, actor, selection, since).await;
        }
        Some(_) => return Err(Failure::invalid("watch", "1 or 0")),
    }
    let limit = params.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let after = match &params.continue_token {
        None => String::new(),
        Some(token) => hex::decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| {
                Failure::invalid(
                    "continue",
                    "take it from metadata.continue of the page before",
                )
            })?,
    };
    let matches = |resource: &Resource<K>| selection.matches(resource);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = app
        .store
        .page::<K>(&actor.tenant, &after, limit, matches)
        .await?;
    let last = page.items.last().filter(|_| page.more);
    let list = List {
        api_version: API_VERSION.to_owned(),
        kind: format!("{}List", K::KIND),
        metadata: ListMetadata {
            continue_token: last.map(|last| hex::encode(&last.metadata.name)),
            resource_version: page.version.to_string(),
        },
        items: page.items,
    };
    Ok(Json(list).into_response())
}

/// `GET /api/v1/<plural>/<name>`
pub(super) async fn read<K: Rules>(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
) -> Result<Json<Resource<K>>, Failure> {
    let found = app.store.find::<K>(&actor.tenant, &name).await?;
    found
        .map(Json)
        .ok_or_else(|| Failure::not_found(K::KIND, &name))
}

/// `POST /api/v1/<plural>`
pub(super) async fn create<K: Rules>(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Params(params): Params<WriteParams>,
    Whole(body): Whole,
) -> Result<(StatusCode, Json<Resource<K>>), Failure> {
    let mut new = resource::<K>(&body)?;
    // What people send here is ignored: cloudcore says it.
    new.status = K::Status::default();
    K::check(&new)?;
    let name = new.metadata.name.clone();
    let mut write = app.store.write().await?;
    if write.find::<K>(&actor.tenant, &name).await?.is_some() {
        let detail = format!("there is a {} named `{name}` already", K::KIND);
        return Err(Failure::new(ProblemType::AlreadyExists, detail)
            .at("metadata.name")
            .hint("choose another name, or update the one that exists"));
    }
    let now = Timestamp::now();
    let attempt = Attempt {
        app: &app,
        actor: &actor,
        write: &mut write,
        now,
    };
    let created = K::create(attempt, new).await?;
    audit::<K>(&mut write, &actor, "create", &name, "", now).await?;
    params.finish(&app, write).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// `PUT /api/v1/<plural>/<name>`
pub(super) async fn update<K: Rules>(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
    Whole(body): Whole,
) -> Result<Json<Resource<K>>, Failure> {
    let mut new = resource::<K>(&body)?;
    if new.metadata.name != name {
        let detail = format!("the address names `{name}`: an object cannot be renamed");
        return Err(Failure::invalid("metadata.name", detail));
    }
    K::check(&new)?;
    let mut write = app.store.write().await?;
    let old = write.find::<K>(&actor.tenant, &name).await?;
    let old = old.ok_or_else(|| Failure::not_found(K::KIND, &name))?;
    check_version(&old, &new)?;
    K::may_update(&old, &new)?;
    let changed = changed_parts(&old, &new);
    if changed.is_empty() {
        return Ok(Json(old));
    }
    new.status = old.status;
    new.metadata.creation_timestamp = old.metadata.creation_timestamp;
    let updated = write.replace(&actor.tenant, new).await?;
    let now = Timestamp::now();
    audit::<K>(&mut write, &actor, "update", &name, &changed, now).await?;
    params.finish(&app, write).await?;
    Ok(Json(updated))
}

/// `DELETE /api/v1/<plural>/<name>`
pub(super) async fn delete<K: Rules>(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
) -> Result<Json<Resource<K>>, Failure> {
    let mut write = app.store.write().await?;
    let old = write.find::<K>(&actor.tenant, &name).await?;
    let old = old.ok_or_else(|| Failure::not_found(K::KIND, &name))?;
    let now = Timestamp::now();
    let attempt = Attempt {
        app: &app,
        actor: &actor,
        write: &mut write,
        now,
    };
    K::before_delete(attempt, &old).await?;
    let removed = write.remove::<K>(&actor.tenant, &name).await?;
    audit::<K>(&mut write, &actor, "delete", &name, "", now).await?;
    params.finish(&app, write).await?;
    Ok(Json(removed.unwrap_or(old)))
}

/// Refuses an update that was made from an older version than the stored one.
fn check_version<K: Kind>(old: &Resource<K>, new: &Resource<K>) -> Result<(), Failure> {
    let (stored, sent) = (
        &old.metadata.resource_version,
        &new.metadata.resource_version,
    );
    if sent.is_none() || sent == stored {
        return Ok(());
    }
    let detail = format!(
        "the {} `{}` has changed since it was read",
        K::KIND,
        old.metadata.name
    );
    Err(Failure::new(ProblemType::Conflict, detail)
        .at("metadata.resourceVersion")
        .hint("read it again and repeat the change, or leave resourceVersion out to overwrite"))
}

/// Which parts an update changes, for the audit trail; empty when it changes nothing.
fn changed_parts<K: Kind>(old: &Resource<K>, new: &Resource<K>) -> String {
    let mut parts = Vec::new();
    if !same_spec(old, new) {
        parts.push("spec");
    }
    if old.metadata.labels != new.metadata.labels {
        parts.push("labels");
    }
    if old.metadata.annotations != new.metadata.annotations {
        parts.push("annotations");
    }
    parts.join(", ")
}

/// The one audit row of a mutation.
async fn audit<K: Kind>(
    write: &mut Write,
    actor: &Actor,
    action: &str,
    name: &str,
    detail: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let object = format!("{}/{name}", K::KIND);
    let entry = AuditEntry {
        actor,
        action,
        object: &object,
        outcome: Outcome::Allowed,
        detail,
    };
    Ok(write.audit(&entry, now).await?)
}
