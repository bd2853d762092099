//! `CONNECT` (RFC 9110, section 9.3.6): asks an HTTP proxy for a tunnel to cloudcore.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::setting::ProxyUrl;
use super::{ConnectError, authority, directly};

/// From the request to the answer: the proxy resolves the name and connects meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest head of an answer: proxies add a few lines about themselves.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most lines of it.
const HEADERS_MAX: usize = 64;

/// A stream to `host` through `proxy`.
pub(super) async fn connect(
    proxy: &ProxyUrl,
    host: &str,
    port: u16,
) -> Result<TcpStream, ConnectError> {
    let stream = directly(proxy.host(), proxy.port()).await;
    let stream = stream.map_err(|source| ConnectError::ProxyUnreachable {
        proxy: proxy.to_string(),
        source: Box::new(source),
    })?;
    let tunnel = tunnel(proxy, stream, authority(host, port));
    match timeout(ANSWER_TIMEOUT, tunnel).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let seconds = ANSWER_TIMEOUT.as_secs();
            Err(not_a_proxy(proxy, format!("no answer within {seconds} s")))
        }
    }
}

async fn tunnel(
    proxy: &ProxyUrl,
    stream: TcpStream,
    target: String,
) -> Result<TcpStream, ConnectError> {
    let no_proxy = |error: &dyn ToString| not_a_proxy(proxy, error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| no_proxy(&error))?;
    // Ends with the tunnel's beginning or with the refusal; its errors surface in the answer.
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    let mut request = Request::connect(&target).header(HOST, &target);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| no_proxy(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| no_proxy(&error))?;
    let proxy_name = || proxy.to_string();
    match response.status() {
        status if status.is_success() => {}
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            let proxy_name = proxy_name();
            return Err(match proxy.authorization() {
                Some(_) => ConnectError::ProxyRejects { proxy: proxy_name },
                None => ConnectError::ProxyAsks { proxy: proxy_name },
            });
        }
        status => {
            return Err(ConnectError::ProxyRefused {
                proxy: proxy_name(),
                target,
                status: status.as_u16(),
            });
        }
    }
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded = upgraded.map_err(|error| no_proxy(&error))?;
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        // Cloudcore speaks second, so nothing can be on its way yet.
        Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
        Ok(_) | Err(_) => Err(no_proxy(&"it spoke into the tunnel")),
    }
}

fn not_a_proxy(proxy: &ProxyUrl, reason: String) -> ConnectError {
    ConnectError::NotAProxy {
        proxy: proxy.to_string(),
        reason,
    }
}
