//! What happens to one packet: decided from the seed, the lane and the packet's number, without IO.

use super::Lane;

/// Queue of the bottleneck in front of a rate limit, as time: what would wait longer is dropped, as routers do.
const QUEUE_US_MAX: u64 = 2_000_000;

/// How long a packet that is chosen for it lags behind its successors.
const REORDER_US: u64 = 30_000;

/// The state of the network. The default is clear: everything passes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// One-way delay in milliseconds.
    pub delay_ms: u64,
    /// Up to this much more, drawn per packet; order is kept.
    pub jitter_ms: u64,
    /// Packets lost, of a thousand.
    pub loss_per_mille: u64,
    /// Packets overtaken by their successors, of a thousand (UDP only).
    pub reorder_per_mille: u64,
    /// Packets that arrive twice, of a thousand (UDP only).
    pub duplicate_per_mille: u64,
    /// Bytes a second one lane carries; 0: no limit.
    pub rate_bytes: u64,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives.
    Arrives {
        /// At this time.
        at_us: u64,
        /// And once more, then.
        again_at_us: Option<u64>,
    },
}

/// The packets of one lane so far.
#[derive(Clone, Debug)]
pub struct Path {
    seed: u64,
    packets: u64,
    /// Until when the bottleneck is busy with earlier packets.
    busy_until_us: u64,
    /// Arrival of the latest packet that keeps the order.
    arrived_us: u64,
}

impl Path {
    /// A lane nothing has passed yet.
    #[must_use]
    pub fn new(seed: u64, lane: Lane) -> Self {
        Self {
            seed: mixed(seed ^ mixed(lane.index() as u64 + 1)),
            packets: 0,
            busy_until_us: 0,
            arrived_us: 0,
        }
    }

    /// Decides about the next packet, which enters at `now_us` with `bytes` bytes.
    pub fn fate(&mut self, weather: &Weather, bytes: usize, now_us: u64) -> Fate {
        self.packets += 1;
        let mut draws = Draws(mixed(self.seed ^ mixed(self.packets)));
        let (loss, reorder, duplicate) = (draws.next(), draws.next(), draws.next());
        let jitter_us = draws.next() % (weather.jitter_ms * 1_000 + 1);
        let Some(sent_us) = self.through_bottleneck(weather.rate_bytes, bytes as u64, now_us)
        else {
            return Fate::Lost;
        };
        if loss % 1_000 < weather.loss_per_mille {
            return Fate::Lost;
        }
        let at_us = sent_us + weather.delay_ms * 1_000 + jitter_us;
        let at_us = if reorder % 1_000 < weather.reorder_per_mille {
            at_us + REORDER_US
        } else {
            self.arrived_us = self.arrived_us.max(at_us);
            self.arrived_us
        };
        let twice = duplicate % 1_000 < weather.duplicate_per_mille;
        Fate::Arrives {
            at_us,
            again_at_us: twice.then_some(at_us + jitter_us + 1_000),
        }
    }

    /// When the packet has left the bottleneck; `None` when its queue is full.
    fn through_bottleneck(&mut self, rate_bytes: u64, bytes: u64, now_us: u64) -> Option<u64> {
        if rate_bytes == 0 {
            return Some(now_us);
        }
        let begin_us = self.busy_until_us.max(now_us);
        if begin_us - now_us > QUEUE_US_MAX {
            return None;
        }
        self.busy_until_us = begin_us + bytes * 1_000_000 / rate_bytes;
        Some(self.busy_until_us)
    }
}

/// Independent draws for one packet.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mixed(self.0)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORM: Weather = Weather {
        delay_ms: 200,
        jitter_ms: 20,
        loss_per_mille: 50,
        reorder_per_mille: 20,
        duplicate_per_mille: 20,
        rate_bytes: 0,
    };

    fn fates(seed: u64, lane: Lane, weather: &Weather, count: u64) -> Vec<Fate> {
        let mut path = Path::new(seed, lane);
        (0..count)
            .map(|packet| path.fate(weather, 1_000, packet * 100))
            .collect()
    }

    #[test]
    fn a_seed_repeats_its_decisions_and_lanes_differ() {
        let first = fates(7, Lane::UdpUp, &STORM, 1_000);
        assert_eq!(first, fates(7, Lane::UdpUp, &STORM, 1_000));
        assert_ne!(first, fates(8, Lane::UdpUp, &STORM, 1_000));
        assert_ne!(first, fates(7, Lane::UdpDown, &STORM, 1_000));
    }

    #[test]
    fn shares_are_what_the_weather_says_and_order_breaks_only_where_it_should() {
        let fates = fates(1, Lane::UdpUp, &STORM, 10_000);
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((400..600).contains(&lost), "{lost} of 10,000 lost");
        let arrivals: Vec<(u64, bool)> = fates
            .iter()
            .filter_map(|fate| match fate {
                Fate::Lost => None,
                Fate::Arrives { at_us, again_at_us } => Some((*at_us, again_at_us.is_some())),
            })
            .collect();
        let twice = arrivals.iter().filter(|(_, twice)| *twice).count();
        assert!((120..260).contains(&twice), "{twice} arrive twice");
        let overtaken = arrivals.windows(2).filter(|pair| pair[0].0 > pair[1].0);
        let overtaken = overtaken.count();
        assert!((100..260).contains(&overtaken), "{overtaken} overtaken");
    }

    #[test]
    fn a_rate_spaces_packets_and_a_full_queue_drops_them() {
        let slow = Weather {
            rate_bytes: 100_000,
            ..Weather::default()
        };
        let mut path = Path::new(1, Lane::TcpUp);
        let at = |fate| match fate {
            Fate::Arrives { at_us, .. } => Some(at_us),
            Fate::Lost => None,
        };
        assert_eq!(at(path.fate(&slow, 1_000, 0)), Some(10_000));
        assert_eq!(at(path.fate(&slow, 1_000, 0)), Some(20_000));
        assert_eq!(at(path.fate(&slow, 1_000, 500_000)), Some(510_000));
        let dropped = (0..1_000).filter(|_| path.fate(&slow, 1_000, 500_000) == Fate::Lost);
        assert!(dropped.count() > 700);
    }

    #[test]
    fn clear_weather_lets_everything_pass_at_once() {
        let all = fates(3, Lane::TcpDown, &Weather::default(), 100);
        for (packet, fate) in all.into_iter().enumerate() {
            let at_us = packet as u64 * 100;
            let again_at_us = None;
            assert_eq!(fate, Fate::Arrives { at_us, again_at_us });
        }
    }
}
