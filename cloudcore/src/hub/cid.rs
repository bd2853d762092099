//! Connection ids that a restarted cloudcore still recognizes as its own.
//!
//! A stateless reset answers a packet for a connection nobody knows. quinn sends none for ids that its generator
//! would not have made, and its default generators draw their key per process: after a restart every agent would be
//! ignored until its own timeout. The key here comes from the persisted reset key.
//!
//! They are also drawn from more numbers than quinn's, which has 2^24. An id that is given out anew while an agent still
//! has it from the process before has the same reset token, and the one behind the same address that is called second
//! takes the other's place: of ten thousand agents that come back one then waits for its idle timeout.

use std::cell::Cell;
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Sets the key of the ids apart from the other uses of the reset key.
const PURPOSE: &[u8] = b"millwright quic connection ids";

/// Random bytes of an id: of the 50,000 of a fleet two are the same once in nine hundred times.
const RANDOM_BYTES: usize = 5;

/// What recognizes them. One stray packet of 2^24 is answered by a reset, which does no harm.
const TAG_BYTES: usize = 3;

/// As long as quinn's: every packet of every agent carries one.
const ID_BYTES: usize = RANDOM_BYTES + TAG_BYTES;

thread_local! {
    /// The last id made on this thread since [`made_by`] began.
    static MADE: Cell<Option<ConnectionId>> = const { Cell::new(None) };
}

/// Makes and recognizes connection ids.
pub(super) struct LastingIds(hmac::Key);

impl LastingIds {
    pub(super) fn new(reset_key: &hmac::Key) -> Self {
        let own = hmac::sign(reset_key, PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
    }

    fn tag(&self, random: &[u8]) -> [u8; TAG_BYTES] {
        let tag = hmac::sign(&self.0, random);
        *tag.as_ref()
            .first_chunk()
            .expect("a SHA-256 tag has 32 bytes")
    }
}

impl ConnectionIdGenerator for LastingIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; ID_BYTES];
        let (random, tag) = bytes.split_at_mut(RANDOM_BYTES);
        SystemRandom::new()
            .fill(random)
            .expect("a system that has started gives random bytes");
        tag.copy_from_slice(&self.tag(random));
        let id = ConnectionId::new(&bytes);
        MADE.set(Some(id));
        id
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        match cid.split_at_checked(RANDOM_BYTES) {
            Some((random, tag)) if tag == self.tag(random) => Ok(()),
            Some(_) | None => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Runs `accept` and returns the last id it made: the one the new connection's peer sends to. quinn makes it
/// synchronously and tells nobody, hence the thread's own cell. Where an id is taken it draws again, so an earlier one
/// may be another's.
pub(super) fn made_by<T>(accept: impl FnOnce() -> T) -> (T, Option<Vec<u8>>) {
    MADE.set(None);
    let accepted = accept();
    let id = MADE.take().map(|id| id.to_vec());
    (accepted, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 64])
    }

    #[test]
    fn ids_made_before_a_restart_are_recognized_after_it_and_others_are_not() {
        let id = LastingIds::new(&key(1)).generate_cid();
        assert!(LastingIds::new(&key(1)).validate(&id).is_ok());
        assert!(LastingIds::new(&key(2)).validate(&id).is_err());
    }

    #[test]
    fn a_fleet_that_comes_back_is_given_no_id_that_one_of_it_still_has() {
        let mut ids = LastingIds::new(&key(1));
        let drawn = (0..20_000).map(|_| ids.generate_cid().to_vec());
        let distinct: std::collections::BTreeSet<_> = drawn.collect();
        // Of 2^24 numbers some twelve would be drawn twice; of these even two never are.
        assert!(distinct.len() >= 19_999, "{}", distinct.len());
    }

    #[test]
    fn an_id_of_another_length_is_not_recognized() {
        let ids = LastingIds::new(&key(1));
        for length in [0, 3, 20] {
            assert!(ids.validate(&ConnectionId::new(&vec![1; length])).is_err());
        }
    }

    #[test]
    fn of_the_ids_that_an_acceptance_draws_the_last_is_told_and_none_of_another() {
        let mut ids = LastingIds::new(&key(1));
        ids.generate_cid();
        let (made, told) = made_by(|| [ids.generate_cid(), ids.generate_cid()]);
        assert_eq!(told.as_deref(), Some(&made[1][..]));
        assert_eq!(made_by(|| ()).1, None);
    }
}
