//! Which network the node is on, and what worked there.
//!
//! A network is told by its default gateways and by the part of the node's own addresses that names the
//! network. Reading them takes two small files and two sockets that send nothing.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use edge_core::link::Transport;
use edge_core::link::networks::{NetworkId, Networks, Noted};
use ring::digest::{SHA256, digest};

use crate::data_dir::{PRIVATE, read_if_present, replace_file};

/// Addresses nobody has (RFC 5737, RFC 3849): asking for the way there tells this node's own address.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Any port: nothing is sent.
const PORT: u16 = 9;

/// What worked where, and where the node is.
pub(super) struct NetworkMemory {
    file: Option<PathBuf>,
    known: Networks,
    current: Option<NetworkId>,
}

impl NetworkMemory {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            known: Networks::default(),
            current: None,
        }
    }

    /// Reads what an earlier process remembered. What cannot be read costs one slow dial.
    pub(super) fn load(&mut self) {
        let Some(file) = &self.file else { return };
        match read_if_present(file) {
            Ok(Some(bytes)) => self.known = Networks::from_bytes(&bytes),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "what worked on which network is not known"),
        }
    }

    /// When the node is on another network than at the last call (or at none before): what worked there.
    pub(super) fn moved(&mut self) -> Option<Option<Transport>> {
        let network = here();
        (self.current.replace(network) != Some(network)).then(|| self.known.worked(network))
    }

    /// A session over `transport` was welcomed here.
    pub(super) async fn carried(&mut self, transport: Transport) {
        let network = self.current.unwrap_or_else(here);
        if let (Noted::New, Some(file)) = (self.known.note(network, transport), &self.file) {
            let (file, bytes) = (file.clone(), self.known.to_bytes());
            let write = move || replace_file(&file, &bytes, PRIVATE);
            // A panic has been told by itself.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
                tracing::debug!(%error, "what worked on this network is not stored");
            }
        }
    }
}

fn here() -> NetworkId {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (v4, v6) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
    fingerprint(&v4, &v6, &ELSEWHERE.map(own_address))
}

/// The address packets to `there` would come from.
fn own_address(there: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match there {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((there, PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn fingerprint(route: &str, ipv6_route: &str, own: &[Option<IpAddr>]) -> NetworkId {
    let mut text = String::new();
    for line in route.lines().chain(ipv6_route.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let gateway = match words.as_slice() {
            // Interface, destination, gateway, flags, references, use, metric, mask.
            [interface, "00000000", gateway, _, _, _, _, "00000000", ..] => (interface, gateway),
            // Destination, its length, source, its length, gateway, metric, references, use, flags, interface.
            [destination, "00", _, _, gateway, _, _, _, _, interface]
                if *interface != "lo" && destination.bytes().all(|digit| digit == b'0') =>
            {
                (interface, gateway)
            }
            _ => continue,
        };
        // Writing to a String does not fail.
        let _ = write!(text, "{} {};", gateway.0, gateway.1);
    }
    for address in own.iter().flatten() {
        // The network's part only: leases and privacy addresses change on one and the same network.
        let _ = match address {
            IpAddr::V4(address) => write!(text, "{:?};", &address.octets()[..3]),
            IpAddr::V6(address) => write!(text, "{:x?};", &address.octets()[..8]),
        };
    }
    let hash = digest(&SHA256, text.as_bytes());
    let short = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    NetworkId::from_bytes(*short)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const PLANT: &str = "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                         eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
    const V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                      fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n";

    fn own(address: &str) -> [Option<IpAddr>; 1] {
        [Some(address.parse().unwrap())]
    }

    #[test]
    fn a_network_is_its_gateways_and_its_part_of_the_address() {
        let plant = fingerprint(&format!("{HEAD}{PLANT}"), "", &own("10.0.0.7"));
        let new_lease = fingerprint(&format!("{HEAD}{PLANT}"), "", &own("10.0.0.99"));
        assert_eq!(plant, new_lease);
        let workshop = PLANT.replace("0100000A", "0101A8C0");
        for other in [
            fingerprint(&workshop, "", &own("10.0.0.7")),
            fingerprint(PLANT, V6, &own("10.0.0.7")),
            fingerprint(PLANT, "", &own("10.0.1.7")),
            fingerprint(PLANT, "", &own("2001:db8::7")),
            fingerprint(HEAD, "", &[None]),
        ] {
            assert_ne!(plant, other);
        }
        // Routes that are no default routes do not matter.
        let local = PLANT.lines().next().unwrap();
        assert_eq!(fingerprint(local, "", &own("10.0.0.7")), plant);
    }

    #[tokio::test]
    async fn what_worked_here_is_known_to_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks");
        let mut memory = NetworkMemory::new(Some(path.clone()));
        memory.load();
        assert_eq!(memory.moved(), Some(None));
        assert_eq!(memory.moved(), None);
        memory.carried(Transport::WebSocket).await;
        drop(memory);
        let mut memory = NetworkMemory::new(Some(path));
        memory.load();
        assert_eq!(memory.moved(), Some(Some(Transport::WebSocket)));
    }
}
