//! The clock certificates are judged by, and the floor of it that survives a power cut.
//!
//! What is believed is decided in [`edge_core::clock`]; here the clocks are read and the floor is kept, in a file
//! beside the keys:
//!
//! ```text
//! "MWTIME" | version u8 = 1 | Unix seconds u64 | CRC-32C u32        (big-endian; the CRC covers what is before it)
//! ```
//! A damaged file costs nothing but the floor in it: enrollment and the node's own certificate give another one.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_core::clock::KnownTime;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::data_dir::{DataDirError, READABLE, read_if_present, replace_file};

/// No agent was ever built before this: the beginning of 2026.
const BUILT_AFTER_S: u64 = 1_767_225_600;

/// When this agent was built, in Unix seconds, if the builder said so (reproducible-builds.org).
const BUILT_AT_S: Option<&str> = option_env!("SOURCE_DATE_EPOCH");

const MAGIC: &[u8; 6] = b"MWTIME";
const VERSION: u8 = 1;

/// What the clocks of the device say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, in Unix seconds; whatever it says.
    pub wall_s: u64,
    /// Since boot, suspended time included, in milliseconds.
    pub boot_ms: u64,
}

impl Reading {
    /// Of this machine.
    #[must_use]
    pub fn of_system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let boot = Duration::try_from(boot).unwrap_or_default();
        Self {
            wall_s: wall.map_or(0, |wall| wall.as_secs()),
            boot_ms: u64::try_from(boot.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The clock; share it as `Arc<FleetClock>`.
pub struct FleetClock {
    /// Owned by this type; held for a few additions.
    known: Mutex<KnownTime>,
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    file: PathBuf,
}

impl fmt::Debug for FleetClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetClock")
            .field("known", &*self.known())
            .finish_non_exhaustive()
    }
}

impl FleetClock {
    /// A clock whose floor is kept in `file`. `passed_s`: times that have certainly passed, in Unix seconds; `read`
    /// gives the device's clocks.
    pub fn open(
        file: PathBuf,
        passed_s: impl IntoIterator<Item = u64>,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Self {
        let persisted = match read_if_present(&file) {
            Ok(None) => 0,
            Ok(Some(bytes)) => decode(&bytes).unwrap_or_else(|| {
                tracing::warn!(file = %file.display(), "the time floor is damaged; it is made anew");
                0
            }),
            Err(error) => {
                tracing::warn!("{error}: the time floor in it is not used");
                0
            }
        };
        let mut known = KnownTime::new(persisted);
        let built = BUILT_AT_S.and_then(|text| text.parse().ok());
        known.passed(built.unwrap_or(BUILT_AFTER_S));
        for unix_s in passed_s {
            known.passed(unix_s);
        }
        Self {
            known: Mutex::new(known),
            read: Box::new(read),
            file,
        }
    }

    /// The time certificates are judged at, in Unix seconds.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        let reading = self.reading();
        self.known().now(reading.wall_s, reading.boot_ms / 1000)
    }

    /// A time that has certainly passed, in Unix seconds.
    #[must_use]
    pub fn floor_s(&self) -> u64 {
        self.known().floor_s()
    }

    /// What the wall clock says, when it is not believed and may be right; see [`KnownTime::doubtful`].
    #[must_use]
    pub fn doubtful_s(&self) -> Option<u64> {
        let wall_s = self.reading().wall_s;
        self.known().doubtful(wall_s)
    }

    /// What the device's clocks say.
    #[must_use]
    pub fn reading(&self) -> Reading {
        (self.read)()
    }

    /// Cloudcore said over a verified connection, just now, that it is `unix_ms`.
    pub fn told(&self, unix_ms: u64) {
        let boot_s = self.reading().boot_ms / 1000;
        self.known().told(unix_ms / 1000, boot_s);
    }

    /// Writes the floor down when it has risen enough to be worth it.
    ///
    /// # Errors
    /// When the file cannot be written; the next call tries again.
    pub fn persist(&self) -> Result<(), DataDirError> {
        let due = self.known().to_persist();
        if let Some(floor_s) = due {
            replace_file(&self.file, &encode(floor_s), READABLE)?;
            self.known().persisted(floor_s);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, KnownTime> {
        // Nothing panics while it is held; a poisoned one is still whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TimeProvider for FleetClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.now_s(),
        )))
    }
}

fn encode(unix_s: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&unix_s.to_be_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(covered) != u32::from_be_bytes(*crc) {
        return None;
    }
    let rest = covered.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
    Some(u64::from_be_bytes(rest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const DAY: u64 = 86_400;
    const ENROLLED: u64 = 21_000 * DAY;

    fn open(file: &std::path::Path, wall: &Arc<AtomicU64>) -> FleetClock {
        let wall = Arc::clone(wall);
        FleetClock::open(file.to_owned(), [ENROLLED], move || Reading {
            wall_s: wall.load(Ordering::Relaxed),
            boot_ms: 1_000,
        })
    }

    #[test]
    fn a_device_without_a_clock_wakes_up_at_the_time_it_was_last_told() {
        let dir = tempfile::tempdir().unwrap();
        let (file, wall) = (dir.path().join("time-floor"), Arc::default());
        let first = open(&file, &wall);
        assert_eq!(first.now_s(), ENROLLED);
        first.told((ENROLLED + 400 * DAY) * 1000);
        first.persist().unwrap();
        assert_eq!(open(&file, &wall).now_s(), ENROLLED + 400 * DAY);
    }

    #[test]
    fn jumps_of_the_wall_clock_move_nothing_once_the_time_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let wall = Arc::new(AtomicU64::new(ENROLLED + 9));
        let clock = open(&dir.path().join("time-floor"), &wall);
        assert_eq!(clock.now_s(), ENROLLED + 9);
        clock.told((ENROLLED + 10) * 1000);
        for jump in [0, ENROLLED + 4_000 * DAY] {
            wall.store(jump, Ordering::Relaxed);
            let judged = clock.current_time().unwrap().as_secs();
            assert_eq!(judged, ENROLLED + 10);
        }
    }

    #[test]
    fn a_damaged_floor_is_left_out_whichever_byte_it_is() {
        let bytes = encode(ENROLLED + DAY);
        assert_eq!(decode(&bytes), Some(ENROLLED + DAY));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "{at}");
            assert_eq!(decode(&bytes[..at]), None, "{at}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("time-floor");
        std::fs::write(&file, &bytes[..7]).unwrap();
        assert_eq!(open(&file, &Arc::default()).now_s(), ENROLLED);
    }

    #[test]
    fn a_floor_that_cannot_be_written_is_said_and_tried_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let clock = open(&file.path().join("time-floor"), &Arc::default());
        clock.told((ENROLLED + DAY) * 1000);
        for _ in 0..2 {
            let error = clock.persist().unwrap_err();
            assert!(error.to_string().contains("time-floor"), "{error}");
        }
    }
}
