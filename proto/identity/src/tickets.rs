//! Tickets by which a node resumes its TLS session, also at the process of cloudcore after this one.
//!
//! A ticket is what rustls would remember of a session, certificate of the node included, sealed so that nobody
//! but cloudcore can read or make one; the node carries it. Sealed with secrets that outlive the process, it spares
//! a returning fleet its full handshakes just when they all come at once.
//!
//! A ticket never means more than the certificate in it: the keys depend on the CAs whose nodes are let in, so that
//! no ticket survives one that was taken away, and every ticket says when it was made and is over after
//! [`TICKET_LIFE_S`]. Whether the certificate is over or the node revoked is asked anew for every session, resumed or
//! not, by whoever accepts it. No early data: a ticket saves computing, not a round trip, and nothing can be replayed.

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};
use rustls::pki_types::{CertificateDer, UnixTime};

/// As long as TLS allows (RFC 8446, section 4.6.1): a node that kept its session for longer shakes hands in full.
pub const TICKET_LIFE_S: u32 = 7 * 24 * 60 * 60;

/// Bytes of a secret.
pub const TICKET_SECRET_BYTES: usize = 32;

/// Longer ones are not ours: two certificates of at most 1 KiB, and some 150 bytes beside them.
const TICKET_BYTES_MAX: usize = 4 * 1024;

/// Tells keys apart before anything is computed with them.
const NAME_BYTES: usize = 8;

/// The time at which it was made, within the sealed part.
const TIME_BYTES: usize = 8;

/// Set the two values that are derived from a secret apart.
const FOR_KEY: &[u8] = b"millwright tls ticket key";
const FOR_NAME: &[u8] = b"millwright tls ticket name";

/// What tickets are sealed with. The newest seals; both open.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecrets {
    /// Seals and opens.
    pub newest: [u8; TICKET_SECRET_BYTES],
    /// Only opens.
    pub before: Option<[u8; TICKET_SECRET_BYTES]>,
}

impl fmt::Debug for TicketSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Seals and opens tickets of nodes whose certificates certain CAs issued.
#[derive(Debug)]
pub(crate) struct Tickets {
    newest: Sealer,
    before: Option<Sealer>,
}

impl Tickets {
    pub(crate) fn new(secrets: &TicketSecrets, node_cas: &[CertificateDer<'_>]) -> Self {
        let mut cas = digest::Context::new(&digest::SHA256);
        for ca in node_cas {
            cas.update(digest::digest(&digest::SHA256, ca).as_ref());
        }
        let cas = cas.finish();
        let sealer = |secret| Sealer::new(secret, cas.as_ref());
        Self {
            newest: sealer(&secrets.newest),
            before: secrets.before.as_ref().map(sealer),
        }
    }

    /// The ticket for a session; `None` without random bytes, and then there is no ticket.
    pub(crate) fn seal(&self, session: &[u8], now: UnixTime) -> Option<Vec<u8>> {
        let length = NAME_BYTES + NONCE_LEN + TIME_BYTES + session.len();
        let mut ticket = Vec::with_capacity(length + CHACHA20_POLY1305.tag_len());
        let mut nonce = [0; NONCE_LEN];
        // Random: with 2^32 tickets of one secret two of them are as improbable as a guess.
        SystemRandom::new().fill(&mut nonce).ok()?;
        ticket.extend_from_slice(&self.newest.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&now.as_secs().to_be_bytes());
        ticket.extend_from_slice(session);
        let sealed = &mut ticket[NAME_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let name = Aad::from(self.newest.name);
        let sealing = self
            .newest
            .key
            .seal_in_place_separate_tag(nonce, name, sealed);
        ticket.extend_from_slice(sealing.ok()?.as_ref());
        (ticket.len() <= TICKET_BYTES_MAX).then_some(ticket)
    }

    /// The session of a ticket; `None` when it is none of ours, or over.
    pub(crate) fn open(&self, ticket: &[u8], now: UnixTime) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut sealers = std::iter::once(&self.newest).chain(&self.before);
        // The name is no secret: it is sent in clear.
        let sealer = sealers.find(|sealer| sealer.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = sealer
            .key
            .open_in_place(nonce, Aad::from(name), &mut sealed);
        let (made, session) = opened.ok()?.split_first_chunk::<TIME_BYTES>()?;
        let age_s = now.as_secs().checked_sub(u64::from_be_bytes(*made))?;
        (age_s < TICKET_LIFE_S.into()).then(|| session.to_vec())
    }
}

struct Sealer {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Sealer {
    fn new(secret: &[u8; TICKET_SECRET_BYTES], cas: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &[u8]| {
            let mut context = hmac::Context::with_key(&secret);
            context.update(purpose);
            context.update(cas);
            context.sign()
        };
        let (name, key) = (derived(FOR_NAME), derived(FOR_KEY));
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref());
        Self {
            name: *name
                .as_ref()
                .first_chunk()
                .expect("a SHA-256 tag has 32 bytes"),
            key: LessSafeKey::new(key.expect("a SHA-256 tag is as long as the key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn tickets(newest: u8, before: Option<u8>, ca: u8) -> Tickets {
        let secrets = TicketSecrets {
            newest: [newest; 32],
            before: before.map(|byte| [byte; 32]),
        };
        Tickets::new(&secrets, &[CertificateDer::from(vec![ca; 300])])
    }

    fn day(number: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(number * DAY))
    }

    #[test]
    fn a_ticket_opens_at_the_next_process_and_after_one_change_of_secrets_and_then_no_more() {
        let ticket = tickets(1, None, 1).seal(b"session", day(10)).unwrap();
        let opened = |tickets: Tickets| tickets.open(&ticket, day(11));
        assert_eq!(
            opened(tickets(1, None, 1)).as_deref(),
            Some(&b"session"[..])
        );
        assert_eq!(
            opened(tickets(2, Some(1), 1)).as_deref(),
            Some(&b"session"[..])
        );
        assert_eq!(opened(tickets(3, Some(2), 1)), None);
    }

    #[test]
    fn a_ticket_does_not_survive_a_change_of_the_trusted_cas() {
        let ticket = tickets(1, None, 1).seal(b"session", day(10)).unwrap();
        assert_eq!(tickets(1, None, 2).open(&ticket, day(10)), None);
    }

    #[test]
    fn a_ticket_is_over_after_seven_days_and_one_of_the_future_is_none() {
        let tickets = tickets(1, None, 1);
        let ticket = tickets.seal(b"session", day(10)).unwrap();
        assert!(tickets.open(&ticket, day(16)).is_some());
        assert_eq!(tickets.open(&ticket, day(17)), None);
        assert_eq!(tickets.open(&ticket, day(9)), None);
    }

    #[test]
    fn what_is_too_long_to_be_a_ticket_is_not_even_decrypted_and_not_made() {
        let tickets = tickets(1, None, 1);
        assert_eq!(tickets.seal(&[0; TICKET_BYTES_MAX], day(1)), None);
        assert_eq!(tickets.open(&[0; TICKET_BYTES_MAX + 1], day(1)), None);
    }

    #[test]
    fn secrets_do_not_print() {
        let secrets = TicketSecrets {
            newest: [7; 32],
            before: None,
        };
        assert_eq!(format!("{secrets:?}"), "[secret]");
        assert!(!format!("{:?}", Tickets::new(&secrets, &[])).contains('7'));
    }

    proptest! {
        #[test]
        fn any_change_of_a_ticket_makes_it_none(session in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let tickets = tickets(1, Some(2), 1);
            let mut ticket = tickets.seal(&session, day(10)).unwrap();
            prop_assert_eq!(tickets.open(&ticket, day(10)), Some(session));
            let at = at.index(ticket.len());
            ticket[at] ^= flip;
            prop_assert_eq!(tickets.open(&ticket, day(10)), None);
            prop_assert_eq!(tickets.open(&ticket[..at], day(10)), None);
        }
    }
}
