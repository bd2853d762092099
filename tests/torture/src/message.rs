//! What the torturer and a recorder process say to each other over a pipe: length, then postcard.

use edge_core::outbox::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::Token;

/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 4;

/// A store's lineage.
pub(crate) type LineageBytes = [u8; 16];

/// A stream's place in [`Stream::ALL`].
pub(crate) type StreamIndex = u8;

/// The place of `stream` in [`Stream::ALL`].
#[must_use]
pub(crate) fn index(stream: Stream) -> StreamIndex {
    match stream {
        Stream::Events => 0,
        Stream::Summaries => 1,
    }
}

/// To the recorder: one call of the outbox.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Order {
    /// Append these, all at once.
    Append(Vec<Token>),
    /// Begin a session.
    Greet,
    /// What a Welcome says.
    Welcome(Vec<(StreamIndex, u64)>),
    /// Offer up to so many records.
    Offer(usize),
    /// Acknowledge a stream up to here.
    Acknowledge(StreamIndex, u64),
    /// Close the store and end.
    Close,
}

/// From the recorder: what came of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Event {
    /// The store is open.
    Opened(Notes),
    /// The store could not be opened.
    Refused(String),
    /// An append returned: the record is durable.
    Appended(Token, LineageBytes, u64),
    /// An append returned an error.
    Failed(Token, String),
    /// A session began.
    Greeted(Hello),
    /// The Welcome is persisted.
    Welcomed,
    /// To be sent.
    Offered(Vec<Sent>),
    /// An acknowledgement is taken.
    Acknowledged,
    /// A call of a session failed.
    SessionFailed(String),
    /// The store is closed.
    Closed,
}

/// What was noted while the store was opened.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Notes {
    /// Repairs without loss.
    pub(crate) repaired: u64,
    /// Everything else, in words.
    pub(crate) losses: Vec<String>,
}

/// What a Hello says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Hello {
    /// The store.
    pub(crate) lineage: LineageBytes,
    /// Per stream: oldest stored and next number.
    pub(crate) streams: Vec<(StreamIndex, u64, u64)>,
}

/// One record or gap.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Sent {
    /// The stream.
    pub(crate) stream: StreamIndex,
    /// First number covered.
    pub(crate) first: u64,
    /// Last number covered.
    pub(crate) last: u64,
    /// The payload; `None` for a declared loss.
    pub(crate) payload: Option<Vec<u8>>,
}

/// A message as it goes over the pipe.
#[must_use]
pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    let body = postcard::to_stdvec(message).expect("plain data always encodes");
    let length = u32::try_from(body.len()).expect("a few megabytes at most");
    [&length.to_be_bytes()[..], &body].concat()
}

/// Takes the first whole message off `buffer`.
///
/// # Errors
/// When the bytes are none.
pub(crate) fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> postcard::Result<Option<T>> {
    let Some((length, rest)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let message = postcard::from_bytes(body)?;
    buffer.drain(..LENGTH_BYTES + length);
    Ok(Some(message))
}
