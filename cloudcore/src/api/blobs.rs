//! Blobs over HTTP: upload, ask, read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use millwright_proto::Digest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::failure::{Failure, ProblemType};
use super::request::{Caller, Name};
use crate::app::App;
use crate::registry::BLOB_BYTES_MAX;
use crate::store::{AuditEntry, Outcome};

/// Bytes read at once while a blob is sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// `PUT /api/v1/blobs/<digest>`: 201 when it is new, 200 when it was here.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(digest): Name,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    let digest = parse(&digest)?;
    if length(&headers).is_some_and(|length| length > BLOB_BYTES_MAX) {
        let detail = format!("a blob may have {BLOB_BYTES_MAX} bytes");
        return Err(Failure::new(ProblemType::TooLarge, detail));
    }
    let chunks = body
        .into_data_stream()
        .map(|chunk| chunk.map_err(|fault| fault.to_string()));
    let size_bytes = app.registry.store(digest, chunks).await?;
    let now = Timestamp::now();
    let mut write = app.store.write().await?;
    if !write
        .insert_blob(&actor.tenant, digest, size_bytes, now)
        .await?
    {
        return Ok(StatusCode::OK);
    }
    let entry = AuditEntry {
        actor: &actor,
        action: "create",
        object: &format!("Blob/{digest}"),
        outcome: Outcome::Allowed,
        detail: &format!("{size_bytes} bytes"),
    };
    write.audit(&entry, now).await?;
    write.commit().await?;
    Ok(StatusCode::CREATED)
}

/// `HEAD /api/v1/blobs/<digest>`
pub(super) async fn head(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(digest): Name,
) -> Result<Response, Failure> {
    let digest = parse(&digest)?;
    let size_bytes = known(&app, &actor.tenant, digest).await?;
    Ok(([(header::CONTENT_LENGTH, size_bytes)], Body::empty()).into_response())
}

/// `GET /api/v1/blobs/<digest>`, whole or one `Range: bytes=a-b`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(digest): Name,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let digest = parse(&digest)?;
    known(&app, &actor.tenant, digest).await?;
    let mut blob = app.registry.open_blob(digest).await?;
    let size_bytes = blob.size_bytes;
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let (status, first, last) = match range.map(|text| range_of(text, size_bytes)) {
        None => (StatusCode::OK, 0, size_bytes),
        Some(Some((first, end))) => (StatusCode::PARTIAL_CONTENT, first, end),
        Some(None) => {
            let size = format!("bytes */{size_bytes}");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok((status, [(header::CONTENT_RANGE, size)]).into_response());
        }
    };
    let sought = blob.file.seek(std::io::SeekFrom::Start(first)).await;
    sought.map_err(|fault| {
        tracing::error!(error = &fault as &dyn std::error::Error, %digest, "a blob cannot be read");
        Failure::new(ProblemType::Internal, "the blob cannot be read")
    })?;
    let body = Body::from_stream(chunks(blob.file, last - first));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, (last - first).into());
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/octet-stream"),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{size_bytes}", last.saturating_sub(1));
        if let Ok(range) = range.parse() {
            headers.insert(header::CONTENT_RANGE, range);
        }
    }
    Ok(response)
}

/// The next `length` bytes of `file`.
fn chunks(
    file: File,
    length: u64,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let mut chunk = vec![0; wanted];
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        Ok(Some((Bytes::from(chunk), (file, left - read as u64))))
    })
}

/// First byte and end of `bytes=a-b` or `bytes=a-` in a blob of `size` bytes.
fn range_of(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let end = match last {
        "" => size,
        last => last.parse::<u64>().ok()?.checked_add(1)?.min(size),
    };
    (first < end).then_some((first, end))
}

async fn known(app: &App, tenant: &str, digest: Digest) -> Result<u64, Failure> {
    let size = app.store.blob_size_bytes(tenant, digest).await?;
    size.ok_or_else(|| Failure::not_found("blob", &digest.to_string()))
}

fn parse(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|fault| Failure::invalid("digest", fault))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_cut_to_the_blob() {
        assert_eq!(range_of("bytes=0-3", 10), Some((0, 4)));
        assert_eq!(range_of("bytes=4-", 10), Some((4, 10)));
        assert_eq!(range_of("bytes=4-99", 10), Some((4, 10)));
        for bad in [
            "bytes=10-",
            "bytes=5-4",
            "bytes=-3",
            "items=0-1",
            "bytes=0-18446744073709551615",
        ] {
            let range = range_of(bad, 10);
            assert!(range.is_none(), "{bad} {range:?}");
        }
    }
}
