//! What TLS tickets of nodes are sealed with, kept over restarts in `tls-tickets.key` and replaced every week.
//!
//! Owns one private file of one or two secrets, each with the time at which it was made, the newest first. Losing
//! it costs every node one full handshake and nothing else, so a damaged one is replaced and never stops a start.

use std::path::Path;

use jiff::Timestamp;
use millwright_identity::{TICKET_LIFE_S, TICKET_SECRET_BYTES, TicketSecrets};

use super::PkiError;
use super::files::{random, read_if_there, write_private};

const FILE: &str = "tls-tickets.key";

/// A secret seals for as long as a ticket lives and opens for as long again, so every ticket is good to its end.
const REPLACED_AFTER_S: i64 = TICKET_LIFE_S as i64;

const TIME_BYTES: usize = 8;

/// A secret as it lies in the file.
const ENTRY_BYTES: usize = TIME_BYTES + TICKET_SECRET_BYTES;

#[derive(Clone, Copy)]
struct Dated {
    made_s: i64,
    secret: [u8; TICKET_SECRET_BYTES],
}

/// The secrets in `directory`, made or replaced where it is time to.
///
/// # Errors
/// When the file cannot be read or written, or there are no random bytes.
pub(super) fn secrets(directory: &Path, now: Timestamp) -> Result<TicketSecrets, PkiError> {
    let path = directory.join(FILE);
    let bytes = read_if_there(&path)?.unwrap_or_default();
    let kept = read(&bytes);
    if kept.is_none() {
        tracing::warn!(path = %path.display(), "damaged, and so made anew: nodes shake hands in full once");
    }
    let mut kept = kept.unwrap_or_default();
    let now_s = now.as_second();
    // One of the future was made by a clock that was wrong, and would never be replaced.
    let fresh = |dated: &Dated| (0..REPLACED_AFTER_S).contains(&(now_s - dated.made_s));
    if !kept.first().is_some_and(fresh) {
        let newest = Dated {
            made_s: now_s,
            secret: random()?,
        };
        kept.retain(|dated| (0..2 * REPLACED_AFTER_S).contains(&(now_s - dated.made_s)));
        kept.insert(0, newest);
        kept.truncate(2);
        write_private(&path, &written(&kept))?;
    }
    Ok(TicketSecrets {
        newest: kept[0].secret,
        before: kept.get(1).map(|dated| dated.secret),
    })
}

/// None in an empty file; `None` when it is damaged.
fn read(bytes: &[u8]) -> Option<Vec<Dated>> {
    let entries = bytes.chunks(ENTRY_BYTES).map(|entry| {
        let (made_s, secret) = entry.split_first_chunk::<TIME_BYTES>()?;
        Some(Dated {
            made_s: i64::from_be_bytes(*made_s),
            secret: secret.try_into().ok()?,
        })
    });
    entries.collect()
}

fn written(kept: &[Dated]) -> Vec<u8> {
    let entries = kept
        .iter()
        .map(|dated| [&dated.made_s.to_be_bytes()[..], &dated.secret].concat());
    entries.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn began() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    #[test]
    fn secrets_are_private_and_the_same_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let first = secrets(directory.path(), began()).unwrap();
        assert_eq!(first.before, None);
        assert!(secrets(directory.path(), began() + DAY * 6).unwrap() == first);
        let file = std::fs::metadata(directory.path().join(FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_is_replaced_after_a_week_opens_for_one_more_and_is_gone_then() {
        let directory = tempfile::tempdir().unwrap();
        let at = |days| secrets(directory.path(), began() + DAY * days).unwrap();
        let (first, second) = (at(0), at(7));
        assert_ne!(second.newest, first.newest);
        assert_eq!(second.before, Some(first.newest));
        assert!(at(13) == second);
        assert_eq!(at(14).before, Some(second.newest));
        // It was off for a month: nothing sealed before is good any more.
        assert_eq!(at(44).before, None);
    }

    #[test]
    fn what_is_damaged_or_of_the_future_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let first = secrets(directory.path(), began()).unwrap();
        let earlier = secrets(directory.path(), began() - DAY).unwrap();
        assert_ne!(earlier.newest, first.newest);
        assert_eq!(earlier.before, None);
        std::fs::write(directory.path().join(FILE), [1; ENTRY_BYTES - 1]).unwrap();
        let after = secrets(directory.path(), began()).unwrap();
        assert_ne!(after.newest, earlier.newest);
        assert!(secrets(directory.path(), began()).unwrap() == after);
    }
}
