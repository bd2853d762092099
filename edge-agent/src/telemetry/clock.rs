//! The clocks of the node, as a window states them.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_core::summary::Moment;
use millwright_proto::ids::BootId;
use millwright_summary::ClockQuality;
use tokio::time::Instant;

/// Exists while systemd-timesyncd has the clock synchronised; chrony's and ntpd's wait services create it too.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Reads both clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    /// When `since_boot` was read.
    started: Instant,
    since_boot: Duration,
    floor_ms: u64,
}

impl Clock {
    /// `floor_ms` is a Unix time that has certainly passed: a wall clock behind it (a dead battery) is replaced
    /// by it.
    #[must_use]
    pub fn start(floor_ms: u64) -> Self {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self {
            started: Instant::now(),
            since_boot: Duration::try_from(boot).unwrap_or_default(),
            floor_ms,
        }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        let since_boot = self.since_boot + self.started.elapsed();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_ms = milliseconds(wall);
        let (wall_ms, clock) = if wall_ms < self.floor_ms {
            (self.floor_ms, ClockQuality::Floor)
        } else if Path::new(SYNCHRONISED).exists() {
            (wall_ms, ClockQuality::Synchronized)
        } else {
            (wall_ms, ClockQuality::Unsynchronized)
        };
        Moment {
            monotonic_ms: milliseconds(since_boot),
            wall_ms,
            clock,
        }
    }
}

/// The kernel's id of this boot; zeros where there is none, as in some containers.
#[must_use]
pub fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    digits.parse().unwrap_or(BootId::from_bytes([0; 16]))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
