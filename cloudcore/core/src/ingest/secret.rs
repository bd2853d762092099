//! Whether the session secret a node presents is its own, or tells that its disk was cloned.
//!
//! The secret changes with every Welcome. A node presents what the last Welcome gave it, or what it
//! presented last time, when that Welcome got lost on the way; both are accepted however often that
//! happens. When a clone and its original both connect, one of them soon presents something older.

/// What is remembered of a node's last session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered<'a> {
    /// What the last Welcome gave; `None` when a restore forgot it.
    pub current: Option<&'a [u8]>,
    /// What the node presented to get it.
    pub previous: Option<&'a [u8]>,
}

/// Whether anything of the outbox store a Hello names was ever counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbox {
    /// It was, or an earlier session was about it.
    Known,
    /// Never heard of.
    New,
}

/// What a presented secret tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// One of the last two, or the first ever.
    Accepted,
    /// None, with an outbox that was never seen: the node lost its state, and nothing can be counted twice.
    StateLost,
    /// Older than the last two.
    Cloned,
}

/// Judges the secret `presented` by a node whose last session was `last`.
#[must_use]
pub fn judge(last: Option<Remembered<'_>>, presented: &[u8], outbox: Outbox) -> Presented {
    let Some(Remembered {
        current: Some(current),
        previous,
    }) = last
    else {
        return Presented::Accepted;
    };
    if presented == current || Some(presented) == previous {
        Presented::Accepted
    } else if presented.is_empty() && outbox == Outbox::New {
        Presented::StateLost
    } else {
        Presented::Cloned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presents `secret` and, when it is accepted, gives `fresh`.
    fn hello<'a>(
        last: &mut Option<Remembered<'a>>,
        secret: &'a [u8],
        fresh: &'a [u8],
    ) -> Presented {
        let presented = judge(*last, secret, Outbox::Known);
        if presented == Presented::Accepted {
            *last = Some(Remembered {
                current: Some(fresh),
                previous: Some(secret),
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
        let forgotten = Some(Remembered::default());
        assert_eq!(judge(forgotten, b"any", Outbox::Known), Presented::Accepted);
        let known = Some(Remembered {
            current: Some(b"b"),
            previous: Some(b"a"),
        });
        assert_eq!(judge(known, b"", Outbox::New), Presented::StateLost);
        assert_eq!(judge(known, b"", Outbox::Known), Presented::Cloned);
    }
}
