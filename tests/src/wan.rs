//! A wide area network between agent and cloudcore, in this process: what a plant's uplink does to packets.
//!
//! Owns one UDP relay (QUIC) and one TCP relay (WebSocket), and does to what passes what [`Weather`] says:
//! delay, jitter, loss, reordering, duplication, a rate limit. Besides weather there are accidents, each
//! switchable while traffic flows: a lane is cut (a black hole, as a firewall is: nothing is refused), a
//! middlebox lets QUIC handshakes through and nothing after them, the address of the agent changes, TCP
//! connections break. It knows nothing of what is inside a packet but the first bit of a QUIC header.
//!
//! ```text
//!   agent --udp--> [lane up: weather::Path -> delay line] --udp--> cloudcore      (and down)
//!   agent --tcp--> [lane up: weather::Path -> queue     ] --tcp--> cloudcore      (and down)
//! ```
//!
//! The fate of the n-th packet of a lane follows from the seed, the lane and n alone, so a seed repeats its
//! decisions; what the programs send at which moment is theirs. TCP is relayed as a stream: a lost segment
//! shows as the time its repetition takes, and a cut lane holds bytes back as TCP itself would. Everything
//! that is sent is counted with the headers of IPv4 and UDP, or an upper estimate of those of TCP.

mod delay;
mod tcp;
mod traffic;
mod udp;
mod weather;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use traffic::{Count, Traffic};
pub use weather::{Fate, Path, Weather};

/// One protocol in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// From agent to cloudcore over UDP.
    UdpUp,
    /// From cloudcore to agent over UDP.
    UdpDown,
    /// From agent to cloudcore over TCP.
    TcpUp,
    /// From cloudcore to agent over TCP.
    TcpDown,
}

impl Lane {
    /// UDP both ways.
    pub const UDP: [Self; 2] = [Self::UdpUp, Self::UdpDown];
    /// TCP both ways.
    pub const TCP: [Self; 2] = [Self::TcpUp, Self::TcpDown];
    /// Everything.
    pub const ALL: [Self; 4] = [Self::UdpUp, Self::UdpDown, Self::TcpUp, Self::TcpDown];

    const fn index(self) -> usize {
        self as usize
    }

    const fn opposite(self) -> Self {
        match self {
            Self::UdpUp => Self::UdpDown,
            Self::UdpDown => Self::UdpUp,
            Self::TcpUp => Self::TcpDown,
            Self::TcpDown => Self::TcpUp,
        }
    }
}

/// What the network is like at the moment.
#[derive(Clone, Debug, Default)]
struct Conditions {
    weather: Weather,
    cut: [bool; Lane::ALL.len()],
    handshakes_only: bool,
    /// Counts changes of the agent's address.
    address: u64,
    /// Counts breaks of all TCP connections.
    broken: u64,
}

impl Conditions {
    fn is_cut(&self, lane: Lane) -> bool {
        self.cut[lane.index()]
    }
}

/// What the relays share. The paths and the books are behind locks because both directions of both relays
/// use them; no lock is held across an await.
struct Shared {
    began: Instant,
    conditions: watch::Sender<Conditions>,
    paths: [Mutex<Path>; Lane::ALL.len()],
    traffic: Mutex<Traffic>,
}

impl Shared {
    /// Decides about a packet of `bytes` that enters `lane` now.
    fn fate(&self, lane: Lane, bytes: usize) -> Fate {
        let weather = self.conditions.borrow().weather;
        locked(&self.paths[lane.index()]).fate(&weather, bytes, self.now_us())
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn book(&self, write: impl FnOnce(&mut Traffic)) {
        write(&mut locked(&self.traffic));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The network; dropping it unplugs it.
pub struct Wan {
    quic: SocketAddr,
    websocket: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Wan {
    /// Puts a clear network in front of cloudcore's `quic` and `websocket` addresses.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(seed: u64, quic: SocketAddr, websocket: SocketAddr) -> Result<Self> {
        let udp = UdpSocket::bind("127.0.0.1:0").await;
        let udp = udp.context("binding the UDP side of the network")?;
        let tcp = TcpListener::bind("127.0.0.1:0").await;
        let tcp = tcp.context("binding the TCP side of the network")?;
        let shared = Arc::new(Shared {
            began: Instant::now(),
            conditions: watch::Sender::new(Conditions::default()),
            paths: Lane::ALL.map(|lane| Mutex::new(Path::new(seed, lane))),
            traffic: Mutex::default(),
        });
        let (near_quic, near_websocket) = (udp.local_addr()?, tcp.local_addr()?);
        let mut tasks = JoinSet::new();
        tasks.spawn(udp::relay(Arc::clone(&shared), udp, quic));
        tasks.spawn(tcp::relay(Arc::clone(&shared), tcp, websocket));
        Ok(Self {
            quic: near_quic,
            websocket: near_websocket,
            shared,
            _tasks: tasks,
        })
    }

    /// What the agent dials for QUIC.
    #[must_use]
    pub fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// What the agent dials for WebSocket.
    #[must_use]
    pub fn websocket(&self) -> SocketAddr {
        self.websocket
    }

    /// From now on packets meet this weather.
    pub fn set_weather(&self, weather: Weather) {
        self.change(|conditions| conditions.weather = weather);
    }

    /// From now on nothing that enters or is under way on these lanes arrives, and nothing says so.
    pub fn cut(&self, lanes: &[Lane]) {
        self.change(|conditions| {
            lanes
                .iter()
                .for_each(|lane| conditions.cut[lane.index()] = true)
        });
    }

    /// Undoes [`Wan::cut`].
    pub fn restore(&self, lanes: &[Lane]) {
        self.change(|conditions| {
            lanes
                .iter()
                .for_each(|lane| conditions.cut[lane.index()] = false)
        });
    }

    /// From now on a middlebox lets the handshakes of QUIC through and swallows what follows them.
    pub fn pass_only_handshakes(&self) {
        self.change(|conditions| conditions.handshakes_only = true);
    }

    /// Undoes [`Wan::pass_only_handshakes`].
    pub fn pass_everything(&self) {
        self.change(|conditions| conditions.handshakes_only = false);
    }

    /// From now on cloudcore sees the agent's datagrams come from another address, as after a change of
    /// network or of a NAT's mind. The old address leads nowhere.
    pub fn change_address(&self) {
        self.change(|conditions| conditions.address += 1);
    }

    /// Breaks every TCP connection, on both sides.
    pub fn break_connections(&self) {
        self.change(|conditions| conditions.broken += 1);
    }

    /// What was sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        *locked(&self.shared.traffic)
    }

    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.shared.conditions.send_modify(change);
    }
}

#[cfg(test)]
mod tests;
