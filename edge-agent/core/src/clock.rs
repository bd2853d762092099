//! The time certificates are judged at, when the clock of the device may be dead, behind, or years ahead.
//!
//! Nobody tells a device whether its clock is right. What it knows for certain is a *floor*: a time that has passed
//! (when its software was made, when it enrolled, what cloudcore said last). And once cloudcore has told the time in
//! this boot, time goes on from there by the clock that only runs, whatever is done to the wall clock.
//!
//! ```text
//!   told in this boot:   told + what has passed since     (at least the floor)
//!   wall < floor:        floor                            (dead battery: 1970)
//!   wall > floor + 180d: floor                            (cannot be told from a clock that is years ahead)
//!   else:                wall
//! ```
//! The third line is safe: a certificate is judged no earlier than its own beginning, so one that is newer than the
//! floor is good. It is needed: cloudcore's certificate has always [`AHEAD_S_MAX`] left, so with this bound a wrong
//! clock can never make it look over. Invariant: the floor never falls. Order of records is by sequence, not by time,
//! so nothing else depends on this.

/// How far ahead of the floor a wall clock is believed: what cloudcore's own certificate has left at least, because it
/// is renewed at half of its year.
pub const AHEAD_S_MAX: u64 = 180 * 86_400;

/// The floor is written when it rose by this much: flash wears, and an hour more or less decides nothing.
pub const PERSIST_EVERY_S: u64 = 3600;

/// What is known of the time. All times in Unix seconds; `boot_s` is seconds since boot, suspended ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownTime {
    floor_s: u64,
    persisted_s: u64,
    /// What cloudcore said in this boot, and when.
    told: Option<(u64, u64)>,
}

impl KnownTime {
    /// Begins with a floor that is persisted already.
    #[must_use]
    pub const fn new(persisted_s: u64) -> Self {
        Self {
            floor_s: persisted_s,
            persisted_s,
            told: None,
        }
    }

    /// A time that has certainly passed; an earlier one than known changes nothing.
    pub fn passed(&mut self, unix_s: u64) {
        self.floor_s = self.floor_s.max(unix_s);
    }

    /// Cloudcore said over a verified connection that it is `unix_s`.
    pub fn told(&mut self, unix_s: u64, boot_s: u64) {
        self.passed(unix_s);
        self.told = Some((unix_s, boot_s));
    }

    /// The time to judge at, by a wall clock that says `wall_s`.
    #[must_use]
    pub fn now(&self, wall_s: u64, boot_s: u64) -> u64 {
        match self.told {
            Some((unix_s, at_s)) => {
                let told = unix_s.saturating_add(boot_s.saturating_sub(at_s));
                told.max(self.floor_s)
            }
            None if wall_s > self.floor_s.saturating_add(AHEAD_S_MAX) => self.floor_s,
            None => wall_s.max(self.floor_s),
        }
    }

    /// What the wall clock says, when it is too far ahead to be believed and nobody has told better: it may be right.
    #[must_use]
    pub fn doubtful(&self, wall_s: u64) -> Option<u64> {
        let ahead = wall_s > self.floor_s.saturating_add(AHEAD_S_MAX);
        (self.told.is_none() && ahead).then_some(wall_s)
    }

    /// A time that has certainly passed.
    #[must_use]
    pub const fn floor_s(&self) -> u64 {
        self.floor_s
    }

    /// The floor, when it is worth writing down.
    #[must_use]
    pub fn to_persist(&self) -> Option<u64> {
        (self.floor_s >= self.persisted_s.saturating_add(PERSIST_EVERY_S)).then_some(self.floor_s)
    }

    /// `unix_s` is written down.
    pub fn persisted(&mut self, unix_s: u64) {
        self.persisted_s = self.persisted_s.max(unix_s);
    }
}

#[cfg(test)]
mod tests;
