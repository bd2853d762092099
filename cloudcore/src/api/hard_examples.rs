//! Inputs that models found hard: an operator asks, the node answers, the audit trail has both.
//!
//! ```text
//!   request ──> audit: who asks which node for what ──> errand ──> node
//!   answer  <── audit: what came, or why nothing did <─────────────┘
//! ```
//! The first row is committed before anything is asked of the node; the second when it is known what came of it, also
//! when whoever asked has gone meanwhile. The first without the second means that cloudcore ended in between. Files go
//! through to whoever asked, chunk by chunk; nothing is stored here. What a node says is checked before it is passed on.

mod stream;
mod visit;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fleet_api::{
    HARD_EXAMPLES_FETCHED_MAX, HardExample, HardExampleFetch, HardExampleList, HardExampleRef,
};
use jiff::Timestamp;
use millwright_proto::hard_example::{is_id, is_name_of};
use millwright_proto::ids::PipelineName;
use millwright_proto::link::HardExampleEntry;
use serde::Deserialize;

use self::visit::Visit;
use super::failure::{Failure, ProblemType};
use super::names::shortened;
use super::request::{Caller, Name, Params, Whole};
use crate::app::App;
use crate::hub::asks::{AskError, Errand};

/// Query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    pipeline: Option<PipelineName>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

/// `GET /api/v1/nodes/<name>/hard-examples`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<ListParams>,
) -> Result<Json<HardExampleList>, Failure> {
    let after = params.continue_token.as_deref().map(position).transpose()?;
    let asked = match &params.pipeline {
        Some(pipeline) => format!("asked for the list of hard examples of pipeline {pipeline}"),
        None => "asked for the list of hard examples".to_owned(),
    };
    let visit = Visit::begin(&app, actor, name, "list-hard-examples", &asked).await?;
    // It goes to its end, so that the second row is written whoever waits for it.
    let answered = tokio::spawn(async move {
        let answered = match app.asks.begin(visit.node) {
            Ok(errand) => page(&errand, params.pipeline.as_ref(), after.as_ref()).await,
            Err(error) => Err(error),
        };
        let outcome = match &answered {
            Ok(list) => Ok(format!("{} hard examples were listed", list.items.len())),
            Err(error) => Err(error),
        };
        visit.end(outcome).await?;
        answered.map_err(|error| visit.failure(error))
    });
    let answered = answered.await.map_err(|_panic| {
        Failure::new(ProblemType::Internal, "the list ended; see cloudcore's log")
    })?;
    answered.map(Json)
}

async fn page(
    errand: &Errand,
    pipeline: Option<&PipelineName>,
    after: Option<&HardExampleRef>,
) -> Result<HardExampleList, AskError> {
    let pipeline = pipeline.map_or("", |pipeline| pipeline.as_str());
    let after = after.map_or(("", ""), |after| (&*after.pipeline, &*after.id));
    let told = errand.list(pipeline, after).await?;
    let items = told.entries.into_iter().map(example);
    let items: Option<Vec<HardExample>> = items.collect();
    let items = items.ok_or(AskError::Broken("an example that cannot be"))?;
    let last = items.last().filter(|_| told.more);
    Ok(HardExampleList {
        continue_token: last.map(|last| format!("{}/{}", last.pipeline, last.id)),
        items,
    })
}

/// An entry of a node's list, if it can be meant.
fn example(told: HardExampleEntry) -> Option<HardExample> {
    let pipeline: PipelineName = told.pipeline.parse().ok()?;
    if !is_id(&told.example) || !is_name_of(&told.data_name, &told.example) {
        return None;
    }
    let kept = Timestamp::from_millisecond(i64::try_from(told.kept_ms).ok()?).ok()?;
    Some(HardExample {
        pipeline: pipeline.to_string(),
        id: told.example,
        model: shortened(&format!("{}@{}", told.model, told.version)),
        reason: shortened(&told.reason),
        kept,
        confidence: told.confidence.filter(|confidence| confidence.is_finite()),
        file: told.data_name,
        bytes: told.data_bytes,
        crc32c: told.data_crc32c,
    })
}

/// Reads `<pipeline>/<id>`.
fn position(token: &str) -> Result<HardExampleRef, Failure> {
    let parts = token.split_once('/').map(|(pipeline, id)| HardExampleRef {
        pipeline: pipeline.to_owned(),
        id: id.to_owned(),
    });
    parts
        .filter(can_be)
        .ok_or_else(|| Failure::invalid("continue", "take it from the page before"))
}

fn can_be(example: &HardExampleRef) -> bool {
    example.pipeline.parse::<PipelineName>().is_ok() && is_id(&example.id)
}

/// `POST /api/v1/nodes/<name>/hard-examples/fetch`
pub(super) async fn fetch(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Whole(body): Whole,
) -> Result<Response, Failure> {
    let wanted = wanted(&body)?;
    let named: Vec<String> = wanted
        .iter()
        .map(|one| format!("{}/{}", one.pipeline, one.id))
        .collect();
    let asked = format!(
        "asked for {} hard examples: {}",
        named.len(),
        named.join(" ")
    );
    let visit = Visit::begin(&app, actor, name, "fetch-hard-examples", &asked).await?;
    let errand = match app.asks.begin(visit.node) {
        Ok(errand) => errand,
        Err(error) => {
            visit.end(Err(&error)).await?;
            return Err(visit.failure(error));
        }
    };
    let body = Body::from_stream(stream::of(errand, wanted, visit));
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, body).into_response())
}

fn wanted(body: &[u8]) -> Result<Vec<HardExampleRef>, Failure> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Failure::new(ProblemType::InvalidBody, "the body is not UTF-8 text"))?;
    let wanted: HardExampleFetch = millwright_document::json(text, "request body")?;
    let wanted = wanted.examples;
    if wanted.is_empty() || wanted.len() > HARD_EXAMPLES_FETCHED_MAX {
        let detail = format!("1 to {HARD_EXAMPLES_FETCHED_MAX} examples are fetched at once");
        return Err(Failure::invalid("examples", detail));
    }
    match wanted.iter().position(|example| !can_be(example)) {
        None => Ok(wanted),
        Some(at) => Err(Failure::invalid(
            format!("examples.{at}"),
            "is no example: take pipeline and id from the list",
        )),
    }
}

#[cfg(test)]
mod tests;
