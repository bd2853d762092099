//! Connection ids that a restarted cloudcore still recognizes as its own.
//!
//! A stateless reset answers a packet for a connection nobody knows. quinn sends none for ids that its
//! generator would not have made, and its default generator draws its key per process: after a restart
//! every agent would be ignored until its own timeout. The key here comes from the persisted reset key.

use std::cell::Cell;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};
use ring::hmac;

/// Sets the key of the ids apart from the other uses of the reset key.
const PURPOSE: &[u8] = b"millwright quic connection ids";

thread_local! {
    /// The last id made on this thread since [`made_by`] began.
    static MADE: Cell<Option<ConnectionId>> = const { Cell::new(None) };
}

/// Makes and recognizes connection ids.
pub(super) struct LastingIds(HashedConnectionIdGenerator);

impl LastingIds {
    pub(super) fn new(reset_key: &hmac::Key) -> Self {
        let tag = hmac::sign(reset_key, PURPOSE);
        let key = tag
            .as_ref()
            .first_chunk()
            .expect("a SHA-256 tag has 32 bytes");
        Self(HashedConnectionIdGenerator::from_key(u64::from_be_bytes(
            *key,
        )))
    }
}

impl ConnectionIdGenerator for LastingIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let id = self.0.generate_cid();
        MADE.set(Some(id));
        id
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        self.0.validate(cid)
    }

    fn cid_len(&self) -> usize {
        self.0.cid_len()
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        self.0.cid_lifetime()
    }
}

/// Runs `accept` and returns the last id it made: the one the new connection's peer sends to. quinn makes it
/// synchronously and tells nobody, hence the thread's own cell. It draws again where an id is taken, and with 24 random
/// bits and several ids for every connection that happens to some of a large fleet: an earlier one is another's.
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
    fn of_the_ids_that_an_acceptance_draws_the_last_is_told_and_none_of_another() {
        let mut ids = LastingIds::new(&key(1));
        ids.generate_cid();
        let (made, told) = made_by(|| [ids.generate_cid(), ids.generate_cid()]);
        assert_eq!(told.as_deref(), Some(&made[1][..]));
        assert_eq!(made_by(|| ()).1, None);
    }
}
