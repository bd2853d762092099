//! The time certificates are judged at when the device's clock may be dead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

/// A clock that never runs below a floor: a device without a battery wakes in 1970, but it has
/// persisted that it once knew better. Put it into `ClientConfig::time_provider`.
#[derive(Debug, Default)]
pub struct TimeFloor(AtomicU64);

impl TimeFloor {
    /// A clock with a floor in Unix seconds, as persisted.
    #[must_use]
    pub const fn new(unix_seconds: u64) -> Self {
        Self(AtomicU64::new(unix_seconds))
    }

    /// Raises the floor, for example to the server time of a `Welcome`; a lower one changes nothing.
    pub fn raise(&self, unix_seconds: u64) {
        self.0.fetch_max(unix_seconds, Ordering::Relaxed);
    }

    /// The floor in Unix seconds, to be persisted.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TimeProvider for TimeFloor {
    fn current_time(&self) -> Option<UnixTime> {
        let clock = DefaultTimeProvider
            .current_time()
            .map_or(0, |now| now.as_secs());
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            clock.max(self.floor()),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_falls_below_the_highest_floor() {
        let far = u64::from(u32::MAX) * 2;
        let clock = TimeFloor::new(0);
        let now = clock.current_time().unwrap().as_secs();
        assert!(now > 1_700_000_000, "{now}");
        clock.raise(far);
        clock.raise(5);
        assert_eq!(clock.current_time().unwrap().as_secs(), far);
        assert_eq!(clock.floor(), far);
    }
}
