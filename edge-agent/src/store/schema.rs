//! The bytes of every row: keys, and an envelope that makes damage visible.
//!
//! ```text
//! crc32c u32 | version u8 | kind u8 | stream u8 | lineage [16] | first u64 | last u64 | payload
//! ```
//! All numbers are big-endian; the CRC covers everything after it. Keys sort by stream and number.
//! A row whose envelope does not name the key it was found under is damaged too.

mod block;
#[cfg(test)]
mod tests;

pub(super) use block::{decode_block, decode_tally, encode_block, encode_tally};

use edge_core::link::Transport;
use edge_core::outbox::{BlockId, GapReason, Head, Stream};
use millwright_proto::ids::Lineage;

const VERSION: u8 = 1;

/// Bytes before the payload.
pub(super) const ENVELOPE_BYTES: usize = 4 + 3 + 16 + 8 + 8;

/// Longest session secret kept.
pub(super) const SECRET_BYTES_MAX: usize = 64;

/// First byte of the keys of heads and of the greeting; streams start at 1.
const META: u8 = 0;

/// Second byte of the key of the tally; those of heads are streams.
const TALLY: u8 = 9;

/// First byte of the keys of blocks.
const BLOCK: u8 = 3;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Record,
    Gap,
    Head,
    Greeting,
    State,
    Block,
    Tally,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Record => 1,
            Self::Gap => 2,
            Self::Head => 3,
            Self::Greeting => 4,
            Self::State => 5,
            Self::Block => 6,
            Self::Tally => 7,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Record),
            2 => Some(Self::Gap),
            3 => Some(Self::Head),
            4 => Some(Self::Greeting),
            5 => Some(Self::State),
            6 => Some(Self::Block),
            7 => Some(Self::Tally),
            _ => None,
        }
    }
}

/// One row, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) kind: Kind,
    /// 0 where no stream is meant.
    pub(super) stream: u8,
    pub(super) lineage: Lineage,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) payload: &'a [u8],
}

impl<'a> Row<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + self.payload.len());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[VERSION, self.kind.code(), self.stream]);
        bytes.extend_from_slice(self.lineage.as_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.last.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` when the bytes are not exactly what was once encoded.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (crc, rest) = bytes.split_first_chunk::<4>()?;
        if crc32c::crc32c(rest) != u32::from_be_bytes(*crc) {
            return None;
        }
        let ([version, kind, stream], rest) = rest.split_first_chunk::<3>()?;
        let (lineage, rest) = rest.split_first_chunk::<16>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (last, payload) = rest.split_first_chunk::<8>()?;
        if *version != VERSION {
            return None;
        }
        Some(Self {
            kind: Kind::from_code(*kind)?,
            stream: *stream,
            lineage: Lineage::from_bytes(*lineage),
            first: u64::from_be_bytes(*first),
            last: u64::from_be_bytes(*last),
            payload,
        })
    }
}

pub(super) const fn stream_code(stream: Stream) -> u8 {
    match stream {
        Stream::Events => 1,
        Stream::Summaries => 2,
    }
}

pub(super) const fn stream_from_code(code: u8) -> Option<Stream> {
    match code {
        1 => Some(Stream::Events),
        2 => Some(Stream::Summaries),
        _ => None,
    }
}

/// Where a row of the outbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Entry(Stream, u64),
    Head(Stream),
    Greeting,
    Tally,
    Block(BlockId),
}

impl Key {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Entry(stream, first) => {
                let mut key = vec![stream_code(stream)];
                key.extend_from_slice(&first.to_be_bytes());
                key
            }
            Self::Head(stream) => vec![META, stream_code(stream)],
            Self::Greeting => vec![META, 0],
            Self::Tally => vec![META, TALLY],
            Self::Block(id) => {
                let mut key = vec![BLOCK];
                key.extend_from_slice(&id.0.to_be_bytes());
                key
            }
        }
    }

    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        match *key {
            [META, 0] => Some(Self::Greeting),
            [META, TALLY] => Some(Self::Tally),
            [META, code] => stream_from_code(code).map(Self::Head),
            [code, ref number @ ..] => {
                let number = u64::from_be_bytes(number.try_into().ok()?);
                if code == BLOCK {
                    return Some(Self::Block(BlockId(number)));
                }
                stream_from_code(code).map(|stream| Self::Entry(stream, number))
            }
            [] => None,
        }
    }
}

const fn reason_code(reason: GapReason) -> u8 {
    match reason {
        GapReason::Evicted => 1,
        GapReason::Corrupt => 2,
        GapReason::FateUnknown => 3,
        GapReason::Quarantined => 4,
    }
}

/// A declared loss.
pub(super) fn encode_gap(
    lineage: Lineage,
    stream: Stream,
    first: u64,
    last: u64,
    reason: GapReason,
) -> Vec<u8> {
    Row {
        kind: Kind::Gap,
        stream: stream_code(stream),
        lineage,
        first,
        last,
        payload: &[reason_code(reason)],
    }
    .encode()
}

pub(super) fn decode_gap_reason(payload: &[u8]) -> Option<GapReason> {
    match *payload {
        [1] => Some(GapReason::Evicted),
        [2] => Some(GapReason::Corrupt),
        [3] => Some(GapReason::FateUnknown),
        [4] => Some(GapReason::Quarantined),
        _ => None,
    }
}

pub(super) fn encode_head(lineage: Lineage, stream: Stream, head: Head) -> Vec<u8> {
    Row {
        kind: Kind::Head,
        stream: stream_code(stream),
        lineage,
        first: head.acknowledged,
        last: head.next,
        payload: &head.offered_up_to.to_be_bytes(),
    }
    .encode()
}

pub(super) fn decode_head(row: &Row<'_>) -> Option<Head> {
    let head = Head {
        acknowledged: row.first,
        next: row.last,
        offered_up_to: u64::from_be_bytes(row.payload.try_into().ok()?),
    };
    let ordered = head.next >= 1 && head.acknowledged < head.next && head.offered_up_to < head.next;
    (row.kind == Kind::Head && ordered).then_some(head)
}

/// Who this outbox is to the cloud.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) lineage: Lineage,
    /// From the last Welcome; empty before the first.
    pub(super) secret: Vec<u8>,
    /// The transport of the last session.
    pub(super) worked: Option<Transport>,
}

impl Identity {
    /// Of a store that is nobody's continuation.
    pub(super) const fn fresh(lineage: Lineage) -> Self {
        Self {
            lineage,
            secret: Vec::new(),
            worked: None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let worked = match self.worked {
            None => 0,
            Some(Transport::Quic) => 1,
            Some(Transport::WebSocket) => 2,
        };
        let mut payload = vec![worked];
        payload.extend_from_slice(&self.secret);
        Row {
            kind: Kind::Greeting,
            stream: 0,
            lineage: self.lineage,
            first: 0,
            last: 0,
            payload: &payload,
        }
        .encode()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let row = Row::decode(bytes)?;
        let (worked, secret) = row.payload.split_first()?;
        let worked = match worked {
            1 => Some(Transport::Quic),
            2 => Some(Transport::WebSocket),
            _ => None,
        };
        let sound = row.kind == Kind::Greeting && secret.len() <= SECRET_BYTES_MAX;
        sound.then(|| Self {
            lineage: row.lineage,
            secret: secret.to_vec(),
            worked,
        })
    }
}
