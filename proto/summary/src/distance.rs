//! How far what was counted lies from what was expected, from counts alone.
//!
//! Both measures take the expected share of every bin and the counts in the same bins. Counts add up in any order, so
//! the same numbers come out at the node and in the cloud, for a minute and for a month.

/// Share given to a bin that is empty on one side: PSI of an empty bin would be infinite. The usual choice, a hundredth
/// of a percent.
const SHARE_MIN: f64 = 1e-4;

/// Fewest samples, weighed against the rows of the baseline, for a verdict: see [`enough`].
pub const SAMPLES_MIN: f64 = 400.0;

/// From this PSI on something has changed a little; the usual bound (Siddiqi: "Credit Risk Scorecards", 2006).
pub const PSI_WATCH: f64 = 0.1;

/// From this PSI on it is no longer the same distribution; the usual bound.
pub const PSI_DRIFT: f64 = 0.25;

/// How far one distribution lies from what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Samples counted.
    pub samples: u64,
    /// Population stability index: 0 for the same shares.
    pub psi: f64,
    /// Kolmogorov-Smirnov: the largest difference of the two cumulative shares at an edge, 0 to 1.
    pub ks: f64,
}

/// What a PSI means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Too few samples to say.
    Inconclusive,
    /// As expected.
    Steady,
    /// At or over [`PSI_WATCH`].
    Watch,
    /// At or over [`PSI_DRIFT`].
    Drift,
}

impl Verdict {
    /// Stable name for metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inconclusive => "inconclusive",
            Self::Steady => "steady",
            Self::Watch => "watch",
            Self::Drift => "drift",
        }
    }
}

/// Compares `counts` with `expected` shares, bin by bin; missing bins count as empty. `None` when nothing was counted
/// or nothing is expected.
#[must_use]
pub fn distance(expected: &[f64], counts: &[u64]) -> Option<Distance> {
    let samples = counts.iter().copied().fold(0, crate::add_counts);
    let whole: f64 = expected.iter().sum();
    if samples == 0 || whole.is_nan() || whole <= 0.0 {
        return None;
    }
    let (mut psi, mut ks) = (0.0, 0.0_f64);
    let (mut expected_below, mut found_below) = (0.0, 0.0);
    for bin in 0..expected.len().max(counts.len()) {
        let expected = expected.get(bin).copied().unwrap_or(0.0) / whole;
        let found = counts.get(bin).copied().unwrap_or(0) as f64 / samples as f64;
        expected_below += expected;
        found_below += found;
        ks = ks.max((found_below - expected_below).abs());
        let (expected, found) = (expected.max(SHARE_MIN), found.max(SHARE_MIN));
        psi += (found - expected) * (found / expected).ln();
    }
    Some(Distance { samples, psi, ks })
}

/// Whether chance alone is out of the question. Without any change, PSI over B bins of N samples against a baseline of M
/// rows is distributed as `(1/N + 1/M)` times chi-squared with B - 1 degrees of freedom. At `N M / (N + M)` = 400 and ten
/// bins it passes 0.1 once in 130,000 times. A baseline of fewer than 400 rows thus never gives a verdict.
#[must_use]
pub fn enough(samples: u64, baseline_rows: u64) -> bool {
    let (samples, rows) = (samples as f64, baseline_rows as f64);
    samples * rows >= SAMPLES_MIN * (samples + rows) && samples > 0.0
}

impl Distance {
    /// What it means beside a baseline of that many rows.
    #[must_use]
    pub fn verdict(&self, baseline_rows: u64) -> Verdict {
        if !enough(self.samples, baseline_rows) {
            Verdict::Inconclusive
        } else if self.psi >= PSI_DRIFT {
            Verdict::Drift
        } else if self.psi >= PSI_WATCH {
            Verdict::Watch
        } else {
            Verdict::Steady
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_shares_are_no_distance_and_a_known_shift_has_its_known_psi() {
        let same = distance(&[0.1; 10], &[70; 10]).unwrap();
        assert!(same.psi.abs() < 1e-12 && same.ks < 1e-12, "{same:?}");
        // (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5), worked out by hand.
        let moved = distance(&[0.5, 0.5], &[600, 400]).unwrap();
        assert!((moved.psi - 0.040_546_5).abs() < 1e-6, "{moved:?}");
        assert!((moved.ks - 0.1).abs() < 1e-12, "{moved:?}");
    }

    #[test]
    fn an_empty_bin_and_a_new_bin_count_and_stay_finite() {
        let gone = distance(&[0.5, 0.5], &[1000, 0]).unwrap();
        assert!(gone.psi > 1.0 && gone.psi.is_finite(), "{gone:?}");
        let new = distance(&[1.0], &[500, 500]).unwrap();
        assert!(new.psi > 1.0 && (new.ks - 0.5).abs() < 1e-12, "{new:?}");
        assert_eq!(distance(&[0.5, 0.5], &[0, 0]), None);
        assert_eq!(distance(&[], &[1]), None);
        assert_eq!(distance(&[f64::NAN], &[1]), None);
    }

    #[test]
    fn few_samples_or_a_small_baseline_give_no_verdict() {
        let far = |samples| Distance {
            samples,
            psi: 3.0,
            ks: 0.9,
        };
        assert_eq!(far(399).verdict(u64::MAX), Verdict::Inconclusive);
        assert_eq!(far(400).verdict(u64::MAX), Verdict::Drift);
        assert_eq!(far(499).verdict(2000), Verdict::Inconclusive);
        assert_eq!(far(500).verdict(2000), Verdict::Drift);
        assert_eq!(far(u64::MAX).verdict(399), Verdict::Inconclusive);
        let psi = |psi| Distance { psi, ..far(9000) }.verdict(9000);
        assert_eq!(psi(0.099), Verdict::Steady);
        assert_eq!(psi(0.1), Verdict::Watch);
        assert_eq!(psi(0.25), Verdict::Drift);
    }
}
