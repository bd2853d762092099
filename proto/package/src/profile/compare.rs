//! How far what a node counted lies from the profile, at the node and in the cloud alike.

use millwright_summary::distance::{Distance, Verdict, distance};
use millwright_summary::{Classes, Histogram, ModelStats};

use super::{CLASSES_NAME, ClassShares, Distribution, Profile};

/// One distribution beside its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Feature, `image.*`, `output.confidence` or `output.classes`.
    pub name: String,
    /// How far; `None` when nothing was counted.
    pub distance: Option<Distance>,
    /// What that means.
    pub verdict: Verdict,
    /// Share of values outside of what the baseline ever had.
    pub outside: f64,
}

impl Profile {
    /// Every distribution beside what `stats` counted; nothing when they were counted with another profile.
    #[must_use]
    pub fn compare(&self, stats: &ModelStats) -> Vec<Difference> {
        let rows = match stats.baseline.profile == self.fingerprint {
            true => stats.baseline.rows.as_slice(),
            false => &[],
        };
        let mut differences: Vec<Difference> = self
            .distributions()
            .zip(rows)
            .map(|((name, of), row)| Difference::of(name, of, row))
            .collect();
        if let Some(shares) = &self.classes
            && !stats.classes.is_empty()
        {
            differences.push(shares.difference(&stats.classes));
        }
        differences
    }
}

impl Difference {
    /// Compares one row of counts.
    #[must_use]
    pub fn of(name: &str, of: &Distribution, row: &Histogram) -> Self {
        let counts: Vec<u64> = std::iter::once(row.missing)
            .chain(row.counts.iter().copied())
            .collect();
        let distance = distance(&of.expected(), &counts);
        Self {
            name: name.to_owned(),
            verdict: verdict(distance, of.rows()),
            outside: row.outside as f64 / row.samples().max(1) as f64,
            distance,
        }
    }
}

impl ClassShares {
    /// Compares answers by class.
    #[must_use]
    pub fn difference(&self, classes: &Classes) -> Difference {
        let known = self.shares.keys().map(|class| classes.of(*class));
        let mut counts: Vec<u64> = known.collect();
        let rest = classes.total().saturating_sub(counts.iter().sum());
        counts.push(rest);
        let mut expected: Vec<f64> = self.shares.values().copied().collect();
        expected.push((1.0 - expected.iter().sum::<f64>()).max(0.0));
        let distance = distance(&expected, &counts);
        Difference {
            name: CLASSES_NAME.to_owned(),
            verdict: verdict(distance, self.count),
            outside: rest as f64 / classes.total().max(1) as f64,
            distance,
        }
    }
}

fn verdict(distance: Option<Distance>, rows: u64) -> Verdict {
    distance.map_or(Verdict::Inconclusive, |distance| distance.verdict(rows))
}

/// The worst of all verdicts; inconclusive when there is none.
#[must_use]
pub fn worst(differences: &[Difference]) -> Verdict {
    let verdicts = differences.iter().map(|difference| difference.verdict);
    verdicts.max().unwrap_or(Verdict::Inconclusive)
}
