//! How much the disk is written to, and what follows from too much.
//!
//! Flash wears out by writes. An append must be durable before it returns, so a budget cannot be kept by writing
//! later: over budget, windows are made longer before they are appended. Nothing is lost but resolution,
//! and each window says how long it is. Events are always written.

/// Over budget a window is so many times longer: ten minutes instead of one, a tenth of the writes.
pub const WINDOW_STRETCH: u32 = 10;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Bytes written on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Days since 1970 (UTC).
    pub day: u64,
    /// Bytes written on it.
    pub written_bytes: u64,
}

impl Wear {
    /// Adds bytes written at `unix_ms`. Another day begins at 0, also one before: clocks are set back.
    #[must_use]
    pub const fn written(self, unix_ms: u64, bytes: u64) -> Self {
        let today = self.on(unix_ms);
        Self {
            day: today.day,
            written_bytes: today.written_bytes.saturating_add(bytes),
        }
    }

    /// As it is at `unix_ms`.
    #[must_use]
    pub const fn on(self, unix_ms: u64) -> Self {
        let day = unix_ms / DAY_MS;
        if day == self.day {
            self
        } else {
            Self {
                day,
                written_bytes: 0,
            }
        }
    }

    /// How many times longer than usual a window should be.
    #[must_use]
    pub const fn stretch(self, budget_bytes: Option<u64>) -> u32 {
        match budget_bytes {
            Some(budget_bytes) if self.written_bytes > budget_bytes => WINDOW_STRETCH,
            Some(_) | None => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stretch_over_budget_until_the_day_ends() {
        let noon = 20_000 * DAY_MS + DAY_MS / 2;
        let wear = Wear::default().written(noon, 600).written(noon + 1, 500);
        assert_eq!(wear.written_bytes, 1_100);
        assert_eq!(wear.stretch(Some(1_000)), WINDOW_STRETCH);
        assert_eq!(wear.stretch(Some(1_100)), 1);
        assert_eq!(wear.stretch(None), 1);
        assert_eq!(wear.on(noon + DAY_MS / 2).stretch(Some(1_000)), 1);
    }
}
