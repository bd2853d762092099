//! What handlers take out of a request: the caller, query parameters, a document.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use fleet_api::{API_VERSION, Kind, Resource};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::DOCUMENT_BYTES_MAX;
use super::failure::{Failure, ProblemType};
use super::names::shortened;
use crate::app::App;
use crate::auth;
use crate::spelling::nearest;
use crate::store::{Actor, AuditEntry, Outcome};

/// Where documents come from, in messages.
const ORIGIN: &str = "request body";

/// How long a document may take to arrive: 1 MiB over a bad uplink of 200 kbit/s.
const BODY_WITHIN: Duration = Duration::from_secs(45);

/// The caller, who showed a valid token.
pub(crate) struct Caller(pub(crate) Actor);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        if let Some(actor) = auth::actor_of(&app.store, header).await? {
            return Ok(Self(actor));
        }
        let detail = match header {
            Some(_) => "the token is not known here",
            None => "the request has no token",
        };
        let failure = Failure::new(ProblemType::Unauthenticated, detail)
            .hint("send `Authorization: Bearer <token>`; fleetctl login keeps one for you");
        let object = format!("{} {}", parts.method, shortened(parts.uri.path()));
        refused(app, "anonymous", "authenticate", &object, &failure).await;
        Err(failure)
    }
}

/// Audits a refusal, as far as the bound on them allows.
pub(crate) async fn refused(app: &App, who: &str, action: &str, object: &str, why: &Failure) {
    app.metrics.refused();
    let now = Timestamp::now();
    if !app.refusals.admit(now) {
        return;
    }
    let actor = Actor {
        tenant: auth::TENANT.to_owned(),
        name: who.to_owned(),
    };
    let entry = AuditEntry {
        actor: &actor,
        action,
        object,
        outcome: Outcome::Refused,
        detail: why.detail(),
    };
    if let Err(fault) = app.store.record_refusal(&entry, now).await {
        tracing::error!(
            error = &fault as &dyn std::error::Error,
            "a refusal could not be audited"
        );
    }
}

/// Query parameters; unknown ones are refused.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        match query {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(fault) => Err(query_failure(&fault.body_text())),
        }
    }
}

/// What axum says of a query, in the words of this API.
fn query_failure(text: &str) -> Failure {
    let text = text.rsplit_once(": ").map_or(text, |(_, end)| end);
    let mut words = text.split('`').skip(1).step_by(2);
    let field = words.next();
    if text.starts_with("unknown field") {
        let field = field.unwrap_or_default();
        let failure = Failure::new(ProblemType::UnknownField, format!("query: {text}")).at(field);
        return match nearest(field, words) {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        };
    }
    Failure::new(ProblemType::InvalidField, format!("query: {text}"))
}

/// A whole body, at most as large as the router allows.
pub(crate) struct Whole(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let read = tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, state));
        match read.await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(fault)) if fault.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("a document may have {DOCUMENT_BYTES_MAX} bytes");
                Err(Failure::new(ProblemType::TooLarge, detail))
            }
            Ok(Err(fault)) => Err(Failure::new(ProblemType::InvalidBody, fault.body_text())),
            Err(_) => {
                let detail = format!("the body did not arrive within {BODY_WITHIN:?}");
                Err(Failure::new(ProblemType::InvalidBody, detail))
            }
        }
    }
}

/// The object named in the address.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|fault| Failure::invalid("name", fault.body_text()))?;
        Ok(Self(shortened_name(&name)))
    }
}

/// Names are at most a few dozen characters; a longer one cannot exist and must not travel on.
fn shortened_name(name: &str) -> String {
    name.chars().take(256).collect()
}

/// Whether a write really happens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WriteParams {
    /// `true`: check everything, change nothing.
    #[serde(default)]
    dry_run: DryRun,
}

/// Value of `dryRun`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DryRun {
    /// Check everything, change nothing.
    True,
    /// Do it.
    #[default]
    False,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It is in the store.
    Kept,
    /// It was a dry run.
    Dropped,
}

impl WriteParams {
    /// Keeps what `write` holds, unless this is a dry run.
    pub(crate) async fn finish(
        self,
        app: &App,
        write: crate::store::Write,
    ) -> Result<Finished, Failure> {
        match self.dry_run {
            DryRun::True => Ok(Finished::Dropped),
            DryRun::False => {
                write.commit().await?;
                app.signals.wake_planner();
                Ok(Finished::Kept)
            }
        }
    }
}

/// Reads an object of kind `K`.
pub(crate) fn resource<K: Kind>(body: &Bytes) -> Result<Resource<K>, Failure> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Failure::new(ProblemType::InvalidBody, "the body is not UTF-8 text"))?;
    let resource: Resource<K> = millwright_document::json(text, ORIGIN)?;
    if resource.api_version != API_VERSION {
        let detail = format!(
            "apiVersion `{}` is not {API_VERSION}",
            shortened(&resource.api_version)
        );
        return Err(Failure::invalid("apiVersion", detail));
    }
    if resource.kind != K::KIND {
        let detail = format!(
            "kind `{}` does not belong here: this is {}",
            shortened(&resource.kind),
            K::KIND
        );
        return Err(Failure::invalid("kind", detail));
    }
    super::names::check_metadata(&resource.metadata)?;
    Ok(resource)
}
