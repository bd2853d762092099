//! Mergeable statistics of one window: what a node tells of its minute instead of raw data.
//!
//! ```text
//!  request -> ModelStats { counters, Sketch, ... }     \
//!  sampler -> Gauge                                     > Window -> encode -> outbox -> link
//!  link    -> LinkStats                                /                                 |
//!                            Merged <- add <- decode <- store of the cloud <-------------+
//! ```
//!
//! Owns the sketch, the gauge, the counts by class and by bin, the window, their stored form, and how far counts lie
//! from what was expected ([`distance`]). It deliberately knows no clock (a window's times are arguments), no model and no
//! transport.
//!
//! Invariant: merging in any order and any grouping gives the same result, down to the encoded
//! bytes. Counts add up to a cap, extremes are compared, and sums are integers ([`sum`]) because
//! floating-point addition is not associative. Asserted by the property tests of [`sketch`] and
//! [`window`]. What a decoder gets may be hostile: it is bounded before it is believed, and an
//! error says what was wrong.

pub mod baseline;
pub mod classes;
mod coder;
pub mod distance;
pub mod gauge;
pub mod sketch;
mod sum;
pub mod window;
mod wire;

pub use baseline::{BaselineCounts, Histogram};
pub use classes::Classes;
pub use gauge::Gauge;
pub use sketch::Sketch;
pub use window::{
    ClockQuality, DecodeError, DifferentBoot, ErrorClass, ImageStats, LinkStats, Merged,
    ModelLabel, ModelStats, Phases, Window, WindowTime,
};

/// Highest count kept; more is cut to it. Capping at one value keeps addition associative, and
/// half the range leaves a bit for the stored form.
pub const COUNT_MAX: u64 = u64::MAX >> 1;

/// `a + b`, cut to [`COUNT_MAX`].
fn add_counts(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(COUNT_MAX)
}
