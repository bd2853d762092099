//! What a node with five models measures in a minute, the same for a seed.

use millwright_summary::{
    ClockQuality, ErrorClass, LinkStats, ModelLabel, ModelStats, Window, WindowTime, gauge,
};

/// Beginning of the first window in Unix milliseconds: some day in 2026.
const START_MS: u64 = 1_780_000_000_000;

const MINUTE_MS: u64 = 60_000;

/// The node is rebooted so often: eleven days in minutes, so that some merges meet a new boot.
const MINUTES_PER_BOOT: u64 = 11 * 1440;

/// Models on the node: name, requests in a usual minute, latency in milliseconds.
const MODELS: [(&str, u64, f64); 5] = [
    ("face-detector", 60, 38.0),
    ("shuttle-anomaly", 120, 0.4),
    ("meter-reader", 12, 120.0),
    ("press-sound", 40, 6.0),
    ("label-reader", 24, 75.0),
];

/// A stream of windows.
#[derive(Clone, Debug)]
pub struct Generator {
    state: u64,
    minute: u64,
}

impl Generator {
    /// The same seed gives the same windows.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            minute: 0,
        }
    }

    /// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next minute.
    pub fn window(&mut self) -> Window {
        let mut window = Window::new(self.time());
        for (model, usual, latency_ms) in MODELS {
            let stats = self.model(usual, latency_ms);
            let label = ModelLabel {
                model: model.to_owned(),
                version: "1.2.0".to_owned(),
            };
            window.models.insert(label, stats);
        }
        for name in [
            gauge::CPU_PERCENT,
            gauge::MEMORY_USED_BYTES,
            gauge::TEMPERATURE_CELSIUS,
        ] {
            let samples = window.node.entry(name.to_owned()).or_default();
            (0..12).for_each(|_| samples.observe(100.0 * self.share()));
        }
        window.link = LinkStats {
            sent_bytes: self.random() % 1_000,
            ..LinkStats::default()
        };
        self.minute += 1;
        window
    }

    fn time(&mut self) -> WindowTime {
        let boot = self.minute / MINUTES_PER_BOOT;
        let interrupted = self.minute % MINUTES_PER_BOOT == MINUTES_PER_BOOT - 1;
        WindowTime {
            boot: u128::from(boot + 1).to_be_bytes(),
            monotonic_start_ms: self.minute % MINUTES_PER_BOOT * MINUTE_MS,
            length_ms: MINUTE_MS,
            coverage_ms: if interrupted { 21_000 } else { MINUTE_MS },
            wall_start_ms: START_MS + self.minute * MINUTE_MS,
            clock: ClockQuality::Synchronized,
            windows: 1,
            interrupted: u64::from(interrupted),
        }
    }

    fn model(&mut self, usual: u64, latency_ms: f64) -> ModelStats {
        let requests = usual / 2 + self.random() % usual;
        let mut stats = ModelStats {
            requests,
            ..ModelStats::default()
        };
        for _ in 0..requests {
            if self.random().is_multiple_of(200) {
                *stats.errors.entry(ErrorClass::Timeout).or_default() += 1;
                continue;
            }
            // The sum of two is what latency looks like: a hump with a tail.
            let latency = latency_ms * (0.6 + self.share() * self.share());
            stats.latency_ms.insert(latency);
            stats.confidence.insert(1.0 - self.share() * self.share());
        }
        stats
    }
}
