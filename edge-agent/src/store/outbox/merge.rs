//! Windows that follow each other become one that covers their sequence numbers.
//!
//! Windows of different boots have no common time line and stay apart, so does what does not decode as a window: it
//! is passed on as it is. The totals stay exact whatever is merged; only the resolution in time goes.

use bytes::Bytes;
use edge_core::outbox::Resolution;
use millwright_summary::Window;

use super::PAYLOAD_BYTES_MAX;
use super::blocks::Sealing;

/// Takes records in their order and gives merged ones back.
pub(super) struct Merger {
    window_ms_max: u64,
    open: Option<Open>,
    done: Vec<Sealing>,
}

/// The record that is being made.
struct Open {
    record: Sealing,
    /// `None` when the payload is no window.
    window: Option<Window>,
    /// Whether more than one record went into it.
    merged: bool,
    /// No longer than this when encoded.
    bytes_max: usize,
}

impl Merger {
    pub(super) fn new(to: Resolution) -> Self {
        Self {
            window_ms_max: to.window_ms_max(),
            open: None,
            done: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, record: Sealing) {
        let window = Window::decode(&record.payload).ok();
        if let (Some(open), Some(window)) = (&mut self.open, &window)
            && open.take(&record, window, self.window_ms_max)
        {
            return;
        }
        self.close();
        self.open = Some(Open {
            bytes_max: record.payload.len(),
            record,
            window,
            merged: false,
        });
    }

    pub(super) fn finish(mut self) -> Vec<Sealing> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        // A record that stayed alone keeps its bytes, also those that a newer program put there.
        if let Some(window) = open.window.filter(|_| open.merged) {
            open.record.payload = Bytes::from(window.encode());
        }
        self.done.push(open.record);
    }
}

impl Open {
    /// Merges `next` into this one, unless they do not belong or do not fit together.
    fn take(&mut self, next: &Sealing, window: &Window, window_ms_max: u64) -> bool {
        let Some(own) = &mut self.window else {
            return false;
        };
        let follows = self.record.last + 1 == next.first;
        let numbers = next.last - self.record.first + 1;
        let Ok(time) = own.time.spanning(&window.time) else {
            return false;
        };
        if !follows || time.length_ms > window_ms_max || u32::try_from(numbers).is_err() {
            return false;
        }
        let mut bytes_max = self.bytes_max + next.payload.len();
        if bytes_max > PAYLOAD_BYTES_MAX {
            bytes_max = own.encode().len() + next.payload.len();
        }
        if bytes_max > PAYLOAD_BYTES_MAX || own.merge(window).is_err() {
            return false;
        }
        self.bytes_max = bytes_max;
        self.record.last = next.last;
        self.merged = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use millwright_summary::{ClockQuality, WindowTime};

    use super::*;

    fn minute(number: u64, boot: u8) -> Sealing {
        let mut window = Window::new(WindowTime {
            boot: [boot; 16],
            monotonic_start_ms: number * 60_000,
            length_ms: 60_000,
            coverage_ms: 60_000,
            wall_start_ms: number * 60_000,
            clock: ClockQuality::Synchronized,
            windows: 1,
            interrupted: 0,
        });
        window.link.reconnects = number;
        Sealing {
            first: number,
            last: number,
            payload: window.encode().into(),
        }
    }

    fn merged(records: impl IntoIterator<Item = Sealing>) -> Vec<(u64, u64, u64)> {
        let mut merger = Merger::new(Resolution::TenMinutes);
        records.into_iter().for_each(|record| merger.add(record));
        let records = merger.finish();
        let line = |record: &Sealing| {
            let reconnects = Window::decode(&record.payload).map(|w| w.link.reconnects);
            (record.first, record.last, reconnects.unwrap_or_default())
        };
        records.iter().map(line).collect()
    }

    #[test]
    fn minutes_become_ten_minutes_and_their_counts_add_up() {
        let records = (1..=25).map(|number| minute(number, 1));
        assert_eq!(merged(records), [(1, 10, 55), (11, 20, 155), (21, 25, 115)]);
    }

    #[test]
    fn another_boot_and_what_is_no_window_stay_apart() {
        let broken = Sealing {
            payload: Bytes::from_static(b"\xff"),
            ..minute(5, 1)
        };
        let records = [
            minute(1, 1),
            minute(2, 1),
            minute(3, 2),
            minute(4, 2),
            broken,
            minute(6, 2),
        ];
        assert_eq!(
            merged(records),
            [(1, 2, 3), (3, 4, 7), (5, 5, 0), (6, 6, 6)]
        );
    }
}
