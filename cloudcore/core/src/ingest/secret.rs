//! Whether the session secret a node presents is its own, or tells that its disk was cloned.
//!
//! The secret changes with every Welcome. A node presents what a Welcome gave it, or what it presented
//! last time, when the Welcome got lost on the way. Until it presents one, every secret given since is
//! good: a Hello that was given up on may be answered after the one that replaced it, and then the
//! older answer is the one that counts here and the newer one the one that the node kept. When a
//! clone and its original both connect, one of them soon presents something older.

/// Length of a secret in bytes.
pub const SECRET_BYTES: usize = 32;

/// Secrets given for one that are remembered: answers that got lost or came late in a row. The oldest
/// ones are forgotten first.
pub const GIVEN_MAX: usize = 8;

/// What is remembered of a node's last session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered<'a> {
    /// Every secret given for `previous`, one after the other; `None` when a restore forgot them.
    pub given: Option<&'a [u8]>,
    /// What the node presented to get them.
    pub previous: Option<&'a [u8]>,
}

impl Remembered<'_> {
    fn has_given(&self, presented: &[u8]) -> bool {
        let mut given = self.given.unwrap_or_default().chunks(SECRET_BYTES);
        given.any(|secret| secret == presented)
    }
}

/// What to remember as given once `fresh` is given for `presented`, which was not refused.
#[must_use]
pub fn given(
    last: Option<Remembered<'_>>,
    presented: &[u8],
    fresh: &[u8; SECRET_BYTES],
) -> Vec<u8> {
    let again = last.filter(|last| last.previous == Some(presented));
    let before = again.and_then(|last| last.given).unwrap_or_default();
    let kept = (GIVEN_MAX - 1) * SECRET_BYTES;
    let mut given = before[before.len().saturating_sub(kept)..].to_vec();
    given.extend_from_slice(fresh);
    given
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
    /// A good one, or the first ever.
    Accepted,
    /// None, with an outbox that was never seen: the node lost its state, and nothing can be counted twice.
    StateLost,
    /// Older than those.
    Cloned,
}

/// Judges the secret `presented` by a node whose last session was `last`.
#[must_use]
pub fn judge(last: Option<Remembered<'_>>, presented: &[u8], outbox: Outbox) -> Presented {
    let Some(last) = last.filter(|last| last.given.is_some()) else {
        return Presented::Accepted;
    };
    if last.has_given(presented) || last.previous == Some(presented) {
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

    #[derive(Default)]
    struct Row {
        given: Option<Vec<u8>>,
        previous: Option<Vec<u8>>,
    }

    impl Row {
        fn remembered(&self) -> Option<Remembered<'_>> {
            self.given.is_some().then_some(Remembered {
                given: self.given.as_deref(),
                previous: self.previous.as_deref(),
            })
        }

        /// Presents `secret` and, when it is accepted, gives `fresh`.
        fn hello(&mut self, secret: &[u8], fresh: u8) -> Presented {
            let last = self.remembered();
            let presented = judge(last, secret, Outbox::Known);
            if presented == Presented::Accepted {
                let given = given(last, secret, &[fresh; SECRET_BYTES]);
                self.given = Some(given);
                self.previous = Some(secret.to_vec());
            }
            presented
        }
    }

    #[test]
    fn lost_welcomes_are_forgiven_however_many() {
        let mut row = Row::default();
        for fresh in 1..=20 {
            assert_eq!(row.hello(b"", fresh), Presented::Accepted);
        }
        assert_eq!(row.given.as_ref().unwrap().len(), GIVEN_MAX * SECRET_BYTES);
        assert_eq!(row.hello(&[20; SECRET_BYTES], 21), Presented::Accepted);
        assert_eq!(row.hello(&[20; SECRET_BYTES], 22), Presented::Accepted);
    }

    #[test]
    fn a_hello_that_was_given_up_on_and_is_answered_late_does_no_harm() {
        let mut row = Row::default();
        assert_eq!(row.hello(b"", 1), Presented::Accepted);
        // The answer 1 is kept by the node; the Hello it had given up on before comes after it.
        assert_eq!(row.hello(b"", 2), Presented::Accepted);
        assert_eq!(row.hello(&[1; SECRET_BYTES], 3), Presented::Accepted);
        assert_eq!(row.hello(&[2; SECRET_BYTES], 4), Presented::Cloned);
    }

    #[test]
    fn of_a_clone_and_its_original_one_is_found_out() {
        let mut row = Row::default();
        assert_eq!(row.hello(b"", 1), Presented::Accepted);
        let (original, clone) = (2, 3);
        assert_eq!(row.hello(&[1; SECRET_BYTES], original), Presented::Accepted);
        assert_eq!(row.hello(&[1; SECRET_BYTES], clone), Presented::Accepted);
        assert_eq!(row.hello(&[original; SECRET_BYTES], 4), Presented::Accepted);
        assert_eq!(row.hello(&[clone; SECRET_BYTES], 5), Presented::Cloned);
    }

    #[test]
    fn a_restored_cloud_and_a_node_that_lost_its_state_are_no_clones() {
        let forgotten = Some(Remembered::default());
        assert_eq!(judge(forgotten, b"any", Outbox::Known), Presented::Accepted);
        let known = Some(Remembered {
            given: Some(&[2; SECRET_BYTES]),
            previous: Some(&[1; SECRET_BYTES]),
        });
        assert_eq!(judge(known, b"", Outbox::New), Presented::StateLost);
        assert_eq!(judge(known, b"", Outbox::Known), Presented::Cloned);
    }
}
