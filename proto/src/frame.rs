//! How a message becomes bytes: one bounded protobuf body per frame.
//!
//! A stream transport (QUIC) puts a big-endian `u32` length before the body; a message transport
//! (WebSocket) carries the bare body as one binary message. The bound is checked before anything
//! is allocated, so a hostile length costs nothing.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

/// ALPN protocol on QUIC and WebSocket subprotocol.
pub const PROTOCOL: &str = "millwright/1";

/// The protocol version spoken here, as it stands in `Hello.versions`.
pub const PROTOCOL_VERSION: u32 = 1;

/// Capability in `Hello` of an agent that runs the pipelines of its desired state.
pub const CAPABILITY_PIPELINES: &str = "pipelines";

/// Largest frame body. A desired document names every file of every model on a node (about 200
/// bytes each) and carries each signature bundle (a few KiB), so 1 MiB holds more than 100 models;
/// everything larger travels as a blob.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Bytes before the body on a stream transport.
pub const LENGTH_BYTES: usize = 4;

/// Why bytes are not a frame of this protocol.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Announced or actual body length in bytes.
        length: usize,
    },
    /// The body is not the expected protobuf message.
    #[error("frame body does not decode: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Encodes `message` as a bare body, for a message transport.
///
/// # Errors
/// [`FrameError::TooLong`] when the body would exceed [`FRAME_BYTES_MAX`].
pub fn encode_body<M: Message>(message: &M) -> Result<Bytes, FrameError> {
    let length = message.encoded_len();
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length });
    }
    Ok(message.encode_to_vec().into())
}

/// Encodes `message` with its length before it, for a stream transport.
///
/// # Errors
/// [`FrameError::TooLong`] when the body would exceed [`FRAME_BYTES_MAX`].
pub fn encode_delimited<M: Message>(message: &M) -> Result<Bytes, FrameError> {
    let body = encode_body(message)?;
    let length =
        u32::try_from(body.len()).map_err(|_| FrameError::TooLong { length: body.len() })?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + body.len());
    frame.put_u32(length);
    frame.put_slice(&body);
    Ok(frame.freeze())
}

/// Decodes one bare body. Unknown fields are dropped; keep the bytes where they matter.
///
/// # Errors
/// When the body is too long or is not an `M`.
pub fn decode_body<M: Message + Default>(body: Bytes) -> Result<M, FrameError> {
    if body.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length: body.len() });
    }
    Ok(M::decode(body)?)
}

/// Takes the first complete frame body off the front of `buffer`; `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as the length prefix is readable.
pub fn split_delimited(buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = body_length(*prefix)?;
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Reads a length prefix.
///
/// # Errors
/// [`FrameError::TooLong`] when it announces more than [`FRAME_BYTES_MAX`].
pub fn body_length(prefix: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        Err(FrameError::TooLong { length })
    } else {
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
