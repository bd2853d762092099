//! What tonic's own server would do around a call: its deadline; and what ours does: its share of memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use crate::serving::budget::{Paid, Share};
use crate::serving::endpoint::Endpoint;

/// Longest deadline that is kept; a worker's own limits are shorter.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// Reads the body under the common budget, which is paid until the call is answered, and ends the call at its deadline.
pub(super) async fn pay_and_limit(
    State(endpoint): State<Endpoint>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let share = Share::default();
    parts.extensions.insert(share.clone());
    let limit = deadline(&parts.headers);
    let body = Body::new(Paid::new(body, Arc::clone(&endpoint.budget), share.clone()));
    let answered = next.run(Request::from_parts(parts, body));
    let response = match limit {
        None => answered.await,
        Some(limit) => match tokio::time::timeout(limit, answered).await {
            Ok(response) => response,
            Err(_) => Status::deadline_exceeded("the deadline of the call has passed").into_http(),
        },
    };
    drop(share);
    response
}

/// `grpc-timeout`: up to eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    let limit = match unit {
        "H" => Duration::from_secs(count.saturating_mul(3600)),
        "M" => Duration::from_secs(count.saturating_mul(60)),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(limit.min(DEADLINE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &'static str, expected: Option<Duration>) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", axum::http::HeaderValue::from_static(text));
        assert_eq!(deadline(&headers), expected, "{text}");
    }

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        check("250m", Some(Duration::from_millis(250)));
        check("99999999H", Some(DEADLINE_MAX));
        check("1x", None);
        check("S", None);
        check("", None);
    }
}
