//! The books: what was sent on each lane.

use super::Lane;

/// IPv4 without options and UDP.
const UDP_HEADER_BYTES: u64 = 20 + 8;

/// IPv4 without options and TCP with time stamps, as Linux sends it.
const TCP_HEADER_BYTES: u64 = 20 + 32;

/// SYN and SYN-ACK carry more options.
const SYN_BYTES: u64 = 60;

/// Payload of a full TCP segment on Ethernet.
const SEGMENT_BYTES: u64 = 1_448;

/// What was sent on one lane, whether it arrived or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Datagrams, or segments as far as they can be told from outside.
    pub packets: u64,
    /// Without headers.
    pub payload_bytes: u64,
    /// With headers of IP and UDP or TCP.
    pub wire_bytes: u64,
    /// Of the packets, those that were lost on the way (or, over TCP, had to be sent again).
    pub lost: u64,
}

/// All lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    lanes: [Count; Lane::ALL.len()],
}

impl Traffic {
    /// One lane.
    #[must_use]
    pub fn on(&self, lane: Lane) -> Count {
        self.lanes[lane.index()]
    }

    /// Bytes with headers on some lanes.
    #[must_use]
    pub fn wire_bytes(&self, lanes: &[Lane]) -> u64 {
        lanes.iter().map(|lane| self.on(*lane).wire_bytes).sum()
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let lanes = Lane::ALL.map(|lane| {
            let (now, then) = (self.on(lane), earlier.on(lane));
            Count {
                packets: now.packets - then.packets,
                payload_bytes: now.payload_bytes - then.payload_bytes,
                wire_bytes: now.wire_bytes - then.wire_bytes,
                lost: now.lost - then.lost,
            }
        });
        Self { lanes }
    }

    pub(super) fn datagram(&mut self, lane: Lane, bytes: usize) {
        let count = &mut self.lanes[lane.index()];
        count.packets += 1;
        count.payload_bytes += bytes as u64;
        count.wire_bytes += bytes as u64 + UDP_HEADER_BYTES;
    }

    /// `bytes` of a TCP stream, and the acknowledgements they cause: one for every second segment and
    /// for the last. In truth some ride on data, so that this is an upper estimate.
    pub(super) fn stream(&mut self, lane: Lane, bytes: usize) {
        let segments = (bytes as u64).div_ceil(SEGMENT_BYTES);
        let count = &mut self.lanes[lane.index()];
        count.packets += segments;
        count.payload_bytes += bytes as u64;
        count.wire_bytes += bytes as u64 + segments * TCP_HEADER_BYTES;
        let acknowledgements = segments.div_ceil(2);
        let count = &mut self.lanes[lane.opposite().index()];
        count.packets += acknowledgements;
        count.wire_bytes += acknowledgements * TCP_HEADER_BYTES;
    }

    /// The three packets that open a connection, and the four that close it.
    pub(super) fn connection(&mut self) {
        let up = &mut self.lanes[Lane::TcpUp.index()];
        up.packets += 4;
        up.wire_bytes += SYN_BYTES + 3 * TCP_HEADER_BYTES;
        let down = &mut self.lanes[Lane::TcpDown.index()];
        down.packets += 3;
        down.wire_bytes += SYN_BYTES + 2 * TCP_HEADER_BYTES;
    }

    pub(super) fn lost(&mut self, lane: Lane) {
        self.lanes[lane.index()].lost += 1;
    }
}
