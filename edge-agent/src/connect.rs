//! TCP connections to cloudcore, directly or through the plant's HTTP proxy.
//!
//! Owns name resolution, the race between the addresses of a name, the choice whether a proxy is used, and
//! `CONNECT` ([`proxy`]). It knows nothing of TLS: what it returns is a bare stream to cloudcore, and TLS
//! goes through a proxy end to end. Every step has a bound of its own, so that the error says which one
//! did not come to an end. Invariant: no user name and no password is in any error, log line or `Debug`
//! form; `tests.rs` asserts it.
//!
//! ```text
//!   cloud.proxy, else HTTPS_PROXY unless NO_PROXY names the host
//!       | none                       | http://[user:password@]host[:port]
//!       v                            v
//!   resolve -> race -> stream    resolve -> race -> CONNECT host:port -> stream
//! ```

mod bypass;
mod proxy;
mod setting;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use bypass::Bypass;
pub use setting::{ProxySetting, ProxyUrl, ProxyUrlError};

/// Longest wait for the resolver: its own default is several times this, per server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for a TCP connection: the SYN and two repetitions of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose bytes TCP repeats for this long without an acknowledgement is dead; Linux itself would go on
/// for a quarter of an hour. It costs no packets: an idle connection is not asked.
const UNACKNOWLEDGED_MS_MAX: u32 = 9_000;

/// Addresses of one name that are tried: two of each family, and as many again.
const ADDRESSES_MAX: usize = 8;

/// Head start of an address over the next one (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot resolve {host}: check the name and the DNS servers of this machine")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {address} over TCP")]
    Tcp {
        /// `host:port`.
        address: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The proxy itself is out of reach.
    #[error("cannot reach the proxy {proxy}: check cloud.proxy or HTTPS_PROXY")]
    ProxyUnreachable {
        /// `host:port` of the proxy.
        proxy: String,
        /// What happened.
        #[source]
        source: Box<ConnectError>,
    },
    /// The proxy wants to know who asks.
    #[error(
        "the proxy {proxy} asks for a user and a password (407): write cloud.proxy as http://USER:PASSWORD@{proxy}"
    )]
    ProxyAsks {
        /// `host:port` of the proxy.
        proxy: String,
    },
    /// The proxy does not know who asks.
    #[error(
        "the proxy {proxy} does not accept the user and password it was given (407): correct them in cloud.proxy or HTTPS_PROXY"
    )]
    ProxyRejects {
        /// `host:port` of the proxy.
        proxy: String,
    },
    /// The proxy will not connect there.
    #[error(
        "the proxy {proxy} refused to connect to {target} ({status}): allow CONNECT to it there"
    )]
    ProxyRefused {
        /// `host:port` of the proxy.
        proxy: String,
        /// Where to.
        target: String,
        /// What it answered.
        status: u16,
    },
    /// What answers is no proxy.
    #[error(
        "{proxy} does not answer like an HTTP proxy ({reason}): check cloud.proxy or HTTPS_PROXY"
    )]
    NotAProxy {
        /// `host:port` of the proxy.
        proxy: String,
        /// What it did.
        reason: String,
    },
}

/// Connects to cloudcore. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    proxy: Option<ProxyUrl>,
    bypass: Bypass,
}

impl Connector {
    /// Without any proxy.
    #[must_use]
    pub fn direct() -> Self {
        Self {
            proxy: None,
            bypass: Bypass::default(),
        }
    }

    /// As `cloud.proxy` says, and where it says nothing as HTTPS_PROXY and NO_PROXY of this process do.
    ///
    /// # Errors
    /// When HTTPS_PROXY counts and names no proxy.
    pub fn configured(setting: Option<&ProxySetting>) -> Result<Self, ProxyUrlError> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::resolve(setting, read)
    }

    fn resolve(
        setting: Option<&ProxySetting>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ProxyUrlError> {
        let either =
            |upper: &str| environment(upper).or_else(|| environment(&upper.to_lowercase()));
        let (proxy, bypass) = match setting {
            Some(ProxySetting::Direct) => (None, Bypass::default()),
            Some(ProxySetting::Through(proxy)) => (Some(proxy.clone()), Bypass::default()),
            None => match either("HTTPS_PROXY") {
                Some(proxy) => (
                    Some(proxy.parse()?),
                    Bypass::parse(&either("NO_PROXY").unwrap_or_default()),
                ),
                None => (None, Bypass::default()),
            },
        };
        Ok(Self { proxy, bypass })
    }

    /// The proxy that is used for `host`.
    #[must_use]
    pub fn proxy_for(&self, host: &str, port: u16) -> Option<&ProxyUrl> {
        self.proxy
            .as_ref()
            .filter(|_| !self.bypass.covers(host, port))
    }

    /// A stream to `host`, which may be a name or an address with or without brackets.
    ///
    /// # Errors
    /// When a step fails or takes too long; the error says which.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match self.proxy_for(host, port) {
            None => directly(host, port).await,
            Some(proxy) => Box::pin(proxy::connect(proxy, host, port)).await,
        }
    }
}

async fn directly(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(host, port).await?;
    let connect = race(addresses, TcpStream::connect);
    let stream = match timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(Some(error))) => Err(error),
        Ok(Err(None)) => Err(std::io::ErrorKind::AddrNotAvailable.into()),
        Err(_elapsed) => Err(too_slow(CONNECT_TIMEOUT)),
    };
    let stream = stream.map_err(|source| ConnectError::Tcp {
        address: authority(host, port),
        source,
    })?;
    // An error means that the connection is gone already, which its first use says better.
    drop(stream.set_nodelay(true));
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX);
    Ok(stream)
}

/// The addresses of `host`, in the resolver's order.
///
/// # Errors
/// When there are none or the resolver takes too long.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve {
        host: host.to_owned(),
        source,
    };
    match timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES_MAX).collect()),
        Ok(Err(source)) => Err(failed(source)),
        Err(_elapsed) => Err(failed(too_slow(RESOLVE_TIMEOUT))),
    }
}

/// Tries the addresses one after the other, each a moment after the one before, and returns the first that
/// answers: an address family that leads nowhere costs a moment and not the whole attempt.
///
/// # Errors
/// The last error; `None` when there was no address.
pub(crate) async fn race<T, E, F>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut addresses = addresses.into_iter();
    let mut running: FuturesUnordered<F> = addresses.next().map(&attempt).into_iter().collect();
    let mut last = None;
    loop {
        tokio::select! {
            Some(ended) = running.next() => match ended {
                Ok(answered) => return Ok(answered),
                Err(error) => {
                    last = Some(error);
                    running.extend(addresses.next().map(&attempt));
                }
            },
            () = tokio::time::sleep(HEAD_START), if addresses.len() > 0 => {
                running.extend(addresses.next().map(&attempt));
            }
            else => return Err(last),
        }
    }
}

/// Splits `host:port`; the host keeps no brackets.
#[must_use]
pub(crate) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn too_slow(limit: Duration) -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no answer within {} s", limit.as_secs()),
    )
}
