//! Status conditions, and how a new set replaces the stored one without losing when each began.

/// One aspect of an object's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// For example `Connected`.
    pub kind: String,
    /// Whether it holds.
    pub state: State,
    /// Machine-readable, `CamelCase`.
    pub reason: String,
    /// For people: what, where, how to fix it.
    pub message: String,
    /// When `state` last changed, in Unix milliseconds.
    pub since_ms: i64,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl Condition {
    /// A condition that is what it is from `now_ms` on, unless `stored` knows it for longer.
    #[must_use]
    pub fn continued(
        stored: &[Self],
        kind: &str,
        state: State,
        (reason, message): (&str, String),
        now_ms: i64,
    ) -> Self {
        let before = find(stored, kind).filter(|before| before.state == state);
        Self {
            kind: kind.to_owned(),
            state,
            reason: reason.to_owned(),
            message,
            since_ms: before.map_or(now_ms, |before| before.since_ms),
        }
    }
}

/// The condition of that type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}
