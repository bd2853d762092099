//! The HTTP side of enrollment and renewal: bytes to messages and back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use millwright_proto::link::{EnrollRequest, RenewRequest};
use prost::Message as _;

use super::failure::{Failure, ProblemType};
use super::names::shortened;
use super::request::{Whole, refused};
use crate::app::App;
use crate::enroll::{self, DialledHost};
use crate::renew;

/// `POST /api/v1/enroll`
pub(super) async fn enroll(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, Failure> {
    let request = EnrollRequest::decode(body).map_err(|fault| {
        let detail = format!("the body is not an EnrollRequest: {fault}");
        Failure::new(ProblemType::InvalidBody, detail)
    })?;
    let dialled = dialled_host(&headers);
    match enroll::enroll(&app, &request, &dialled, Timestamp::now()).await {
        Ok(response) => {
            let kind = [(header::CONTENT_TYPE, "application/x-protobuf")];
            Ok((kind, response.encode_to_vec()).into_response())
        }
        Err(failure) => {
            let object = format!("Node/{}", shortened(&request.node));
            refused(&app, enroll::ACTOR, "enroll", &object, &failure).await;
            Err(failure)
        }
    }
}

/// `POST /api/v1/renew`
pub(super) async fn renew(
    State(app): State<Arc<App>>,
    Whole(body): Whole,
) -> Result<Response, Failure> {
    let request = RenewRequest::decode(body).map_err(|fault| {
        let detail = format!("the body is not a RenewRequest: {fault}");
        Failure::new(ProblemType::InvalidBody, detail)
    })?;
    match renew::renew(&app, &request, Timestamp::now()).await {
        Ok(response) => {
            let kind = [(header::CONTENT_TYPE, "application/x-protobuf")];
            Ok((kind, response.encode_to_vec()).into_response())
        }
        Err(failure) => {
            let object = format!("Node/{}", shortened(&hex::encode(&request.node_uid)));
            refused(&app, renew::ACTOR, "renew", &object, &failure).await;
            Err(failure)
        }
    }
}

/// The host the device wrote, without its port.
fn dialled_host(headers: &HeaderMap) -> DialledHost {
    let host = headers.get(header::HOST);
    let host = host.and_then(|value| value.to_str().ok());
    let authority = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    let host = authority
        .as_ref()
        .map_or("localhost", |authority| authority.host());
    DialledHost(host.trim_matches(['[', ']']).to_owned())
}
