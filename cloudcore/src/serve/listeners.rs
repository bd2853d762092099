//! The four sockets, bound before anything else starts, so that a taken port is an error at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use thiserror::Error;
use tokio::net::TcpListener;

use crate::app::Addresses;
use crate::config::Config;

/// Receive buffer of the QUIC socket. With the system's default, handshakes are dropped when many
/// nodes come back at once.
const UDP_RECEIVE_BYTES: usize = 4 * 1024 * 1024;

/// A port that cannot be had.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({what}): choose another address with {flag}")]
pub(crate) struct BindError {
    /// The address as configured.
    address: SocketAddr,
    /// What for.
    what: &'static str,
    /// The flag that sets it.
    flag: &'static str,
    /// What the system said.
    source: std::io::Error,
}

/// Bound sockets.
pub(crate) struct Listeners {
    /// HTTPS.
    pub(crate) api: TcpListener,
    /// Agents over WebSocket.
    pub(crate) websocket: TcpListener,
    /// Agents over QUIC.
    pub(crate) quic: UdpSocket,
    /// Metrics and health.
    pub(crate) metrics: TcpListener,
    bound: Addresses,
}

impl Listeners {
    /// Binds all four.
    ///
    /// # Errors
    /// For the first one that cannot be bound, naming its flag.
    pub(crate) async fn bind(config: &Config) -> Result<Self, BindError> {
        let (api, api_at) = tcp(config.api_address, "the API", "--api-address").await?;
        let (websocket, websocket_at) = tcp(
            config.websocket_address,
            "agents over WebSocket",
            "--websocket-address",
        )
        .await?;
        let (metrics, metrics_at) =
            tcp(config.metrics_address, "metrics", "--metrics-address").await?;
        let (quic, quic_at) = udp(config.quic_address).map_err(|source| BindError {
            address: config.quic_address,
            what: "agents over QUIC",
            flag: "--quic-address",
            source,
        })?;
        Ok(Self {
            api,
            websocket,
            quic,
            metrics,
            bound: Addresses {
                api: api_at,
                websocket: websocket_at,
                quic: quic_at,
                metrics: metrics_at,
            },
        })
    }

    /// Where they listen.
    pub(crate) fn bound(&self) -> Addresses {
        self.bound
    }

    /// Where a program on this machine reaches them.
    pub(crate) fn addresses(&self) -> Addresses {
        let Addresses {
            api,
            websocket,
            quic,
            metrics,
        } = self.bound;
        Addresses {
            api: dialable(api),
            websocket: dialable(websocket),
            quic: dialable(quic),
            metrics: dialable(metrics),
        }
    }
}

async fn tcp(
    address: SocketAddr,
    what: &'static str,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError {
        address,
        what,
        flag,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn udp(address: SocketAddr) -> std::io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // The system may give less; that is slower under storms, not wrong.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(UDP_RECEIVE_BYTES);
    let bound = socket.local_addr()?;
    Ok((socket, bound))
}

/// The loopback address in place of "any".
fn dialable(bound: SocketAddr) -> SocketAddr {
    let host = match bound.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    SocketAddr::new(host, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_listens_everywhere_is_reached_over_loopback_and_known_as_it_is() {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            api_address: any,
            websocket_address: any,
            quic_address: any,
            metrics_address: loopback,
            ..Config::default()
        };
        let listeners = Listeners::bind(&config).await.unwrap();
        let (bound, dialled) = (listeners.bound(), listeners.addresses());
        for (bound, dialled) in [
            (bound.api, dialled.api),
            (bound.websocket, dialled.websocket),
            (bound.quic, dialled.quic),
        ] {
            assert_eq!(bound.ip(), any.ip());
            assert_eq!(dialled, SocketAddr::new(loopback.ip(), bound.port()));
        }
        assert_eq!(bound.api, listeners.api.local_addr().unwrap());
        assert_eq!(bound.metrics, dialled.metrics);
    }
}
