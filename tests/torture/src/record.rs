//! What is appended: payloads that tell from their bytes alone which record they are.

use edge_core::outbox::Stream;

/// One payload in this many is longer than a quarter of a log segment, so that it takes another way through the store.
const LARGE_EVERY: u64 = 499;

/// Bytes of such a payload.
const LARGE_BYTES: usize = 140_000;

/// Most bytes of an ordinary payload after its token.
const FILLER_BYTES_MAX: u64 = 400;

/// Bytes of the token at the start of a payload.
const TOKEN_BYTES: usize = 8;

/// A record's name, unique in a run.
pub(crate) type Token = u64;

/// The stream that `token` goes to: every fourth is an event.
#[must_use]
pub(crate) fn stream(token: Token) -> Stream {
    if token.is_multiple_of(4) {
        Stream::Events
    } else {
        Stream::Summaries
    }
}

/// The payload of `token`: the same bytes in every process.
#[must_use]
pub(crate) fn payload(token: Token) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(token);
    let length = if token % LARGE_EVERY == LARGE_EVERY - 1 {
        LARGE_BYTES
    } else {
        usize::try_from(dice.u64(0..=FILLER_BYTES_MAX)).expect("a few hundred bytes")
    };
    let mut bytes = vec![0; TOKEN_BYTES + length];
    let (name, filler) = bytes.split_at_mut(TOKEN_BYTES);
    name.copy_from_slice(&token.to_be_bytes());
    dice.fill(filler);
    bytes
}

/// The token of `payload`; `None` unless every byte is as it was appended.
#[must_use]
pub(crate) fn token(found: &[u8]) -> Option<Token> {
    let (name, _) = found.split_first_chunk::<TOKEN_BYTES>()?;
    let token = Token::from_be_bytes(*name);
    (payload(token) == found).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_recognised_and_a_changed_one_is_not() {
        for number in [0, 1, 7, LARGE_EVERY - 1] {
            let mut bytes = payload(number);
            assert_eq!(token(&bytes), Some(number));
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            assert_eq!(token(&bytes), None);
            assert_eq!(token(&bytes[..last]), None);
        }
    }
}
