//! What worked on which network, for a bounded number of networks.
//!
//! A device that moves between a plant that blocks UDP and a workshop that does not dials right at once
//! on both. A network is known by a fingerprint the caller makes of its routes; what is in it does not
//! matter here.

use super::Transport;

/// Networks remembered: plant, workshop, a spare uplink, and as many again that came by chance.
pub const NETWORKS_MAX: usize = 8;

const FINGERPRINT_BYTES: usize = 16;

/// First byte of the stored form; another one reads as nothing remembered.
const FORMAT: u8 = 1;

/// Which network the node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkId([u8; FINGERPRINT_BYTES]);

impl NetworkId {
    /// Equal bytes are the same network.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; FINGERPRINT_BYTES]) -> Self {
        Self(bytes)
    }
}

/// Whether there is something to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It was known.
    Known,
    /// It is new: store it. Rare, and so no burden to flash.
    New,
}

/// What is remembered, the network used last at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    known: Vec<(NetworkId, Transport)>,
}

impl Networks {
    /// What carried the last session there.
    #[must_use]
    pub fn worked(&self, network: NetworkId) -> Option<Transport> {
        let known = self.known.iter().find(|(known, _)| *known == network);
        known.map(|(_, transport)| *transport)
    }

    /// A session over `transport` was welcomed on `network`.
    pub fn note(&mut self, network: NetworkId, transport: Transport) -> Noted {
        let noted = match self.worked(network) {
            Some(worked) if worked == transport => Noted::Known,
            Some(_) | None => Noted::New,
        };
        self.known.retain(|(known, _)| *known != network);
        self.known.push((network, transport));
        let surplus = self.known.len().saturating_sub(NETWORKS_MAX);
        self.known.drain(..surplus);
        noted
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        for (network, transport) in &self.known {
            bytes.extend_from_slice(&network.0);
            bytes.push(match transport {
                Transport::Quic => 1,
                Transport::WebSocket => 2,
            });
        }
        bytes
    }

    /// Reads the stored form; what cannot be read is forgotten, which costs one slow dial.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut networks = Self::default();
        let Some((&FORMAT, entries)) = bytes.split_first() else {
            return networks;
        };
        for entry in entries.chunks_exact(FINGERPRINT_BYTES + 1) {
            let (network, transport) = entry.split_at(FINGERPRINT_BYTES);
            let network = <[u8; FINGERPRINT_BYTES]>::try_from(network).map(NetworkId);
            match (network, transport) {
                (Ok(network), [1]) => networks.note(network, Transport::Quic),
                (Ok(network), [2]) => networks.note(network, Transport::WebSocket),
                _ => return Self::default(),
            };
        }
        networks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn network(number: u8) -> NetworkId {
        NetworkId::from_bytes([number; FINGERPRINT_BYTES])
    }

    #[test]
    fn each_network_keeps_what_worked_on_it_and_the_longest_unused_is_forgotten() {
        let mut networks = Networks::default();
        let (quic, websocket) = (Transport::Quic, Transport::WebSocket);
        assert_eq!(networks.note(network(0), websocket), Noted::New);
        assert_eq!(networks.note(network(0), websocket), Noted::Known);
        for other in 1..NETWORKS_MAX as u8 {
            networks.note(network(other), quic);
        }
        assert_eq!(networks.worked(network(0)), Some(websocket));
        networks.note(network(0), websocket);
        assert_eq!(networks.note(network(100), quic), Noted::New);
        assert_eq!(networks.worked(network(1)), None);
        assert_eq!(networks.worked(network(0)), Some(websocket));
        assert_eq!(networks.note(network(0), quic), Noted::New);
    }

    proptest! {
        #[test]
        fn the_stored_form_reads_back_and_other_bytes_never_panic(
            noted in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..20),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut networks = Networks::default();
            for (number, quic) in noted {
                let transport = if quic { Transport::Quic } else { Transport::WebSocket };
                networks.note(network(number), transport);
            }
            prop_assert_eq!(&Networks::from_bytes(&networks.to_bytes()), &networks);
            prop_assert!(Networks::from_bytes(&bytes).known.len() <= NETWORKS_MAX);
        }
    }
}
