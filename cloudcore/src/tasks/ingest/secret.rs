//! Whether the session secret a node presents is its own, or tells that its disk was cloned.
//!
//! The secret changes with every Welcome. A node presents what the last Welcome gave it, or what it
//! presented last time, when that Welcome got lost on the way; both are accepted however often that
//! happens. When a clone and its original both connect, one of them soon presents something older.

use crate::store::KnownSession;

/// What a presented secret tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// One of the last two, or the first ever.
    Accepted,
    /// None, with an outbox that was never seen: the node lost its state, and nothing can be counted twice.
    StateLost,
    /// Older than the last two.
    Cloned,
}

pub(super) fn judge(
    last: Option<&KnownSession>,
    presented: &[u8],
    knows_lineage: bool,
) -> Presented {
    let Some(last) = last else {
        return Presented::Accepted;
    };
    let Some(current) = &last.secret_current else {
        return Presented::Accepted;
    };
    let previous = last.secret_previous.as_deref();
    if presented == &current[..] || Some(presented) == previous {
        Presented::Accepted
    } else if presented.is_empty() && !knows_lineage {
        Presented::StateLost
    } else {
        Presented::Cloned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presents `secret` and, when it is accepted, gives `fresh`.
    fn hello(last: &mut Option<KnownSession>, secret: &[u8], fresh: &[u8]) -> Presented {
        let presented = judge(last.as_ref(), secret, true);
        if presented == Presented::Accepted {
            *last = Some(KnownSession {
                term: 0,
                secret_current: Some(fresh.to_vec()),
                secret_previous: Some(secret.to_vec()),
            });
        }
        presented
    }

    #[test]
    fn lost_welcomes_are_forgiven_however_many() {
        let mut last = None;
        for fresh in [b"a", b"b", b"c", b"d"] {
            assert_eq!(hello(&mut last, b"", fresh), Presented::Accepted);
        }
        assert_eq!(hello(&mut last, b"d", b"e"), Presented::Accepted);
        assert_eq!(hello(&mut last, b"d", b"f"), Presented::Accepted);
    }

    #[test]
    fn of_a_clone_and_its_original_one_is_found_out() {
        let mut last = None;
        assert_eq!(hello(&mut last, b"", b"a"), Presented::Accepted);
        assert_eq!(hello(&mut last, b"a", b"original"), Presented::Accepted);
        assert_eq!(hello(&mut last, b"a", b"clone"), Presented::Accepted);
        assert_eq!(hello(&mut last, b"original", b"x"), Presented::Cloned);
    }

    #[test]
    fn a_restored_cloud_and_a_node_that_lost_its_state_are_no_clones() {
        let forgotten = KnownSession {
            term: 7,
            secret_current: None,
            secret_previous: None,
        };
        assert_eq!(judge(Some(&forgotten), b"any", true), Presented::Accepted);
        let known = KnownSession {
            term: 7,
            secret_current: Some(b"b".to_vec()),
            secret_previous: Some(b"a".to_vec()),
        };
        assert_eq!(judge(Some(&known), b"", false), Presented::StateLost);
        assert_eq!(judge(Some(&known), b"", true), Presented::Cloned);
    }
}
