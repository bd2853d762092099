//! Whether a model is still given, and still gives, what it was made for.
//!
//! ```text
//! ModelStats of each window ─▶ gathered per distribution ─ enough samples? ─▶ PSI, KS ─▶ verdict ─▶ episode
//! ```
//!
//! Every distribution of the profile gathers counts over as many windows as it takes until chance cannot explain a
//! difference ([`millwright_summary::distance::enough`]); until then it is inconclusive. Then it is judged and begins anew.
//! It drifts from the first judgement over the bound on, and is steady again only after [`CALM_JUDGEMENTS`] in a row
//! without any difference, so that a value beside the bound does not flap. An episode lasts from the first distribution
//! that drifts to the last one; it is told when it begins and when it ends, not every minute.
//!
//! Knows no clock: a window is an argument. State is lost with the process; the next judgement tells again.

use std::sync::Arc;

use millwright_package::Profile;
use millwright_package::profile::{CLASSES_NAME, Difference, Distribution};
use millwright_summary::distance::Verdict;
use millwright_summary::{Classes, Histogram, ModelStats};

/// Judgements without a difference that end a drift.
pub const CALM_JUDGEMENTS: u32 = 2;

/// One model version beside its profile.
#[derive(Clone, Debug)]
pub struct DriftWatch {
    profile: Arc<Profile>,
    rows: Vec<(Histogram, Subject)>,
    classes: (Classes, Subject),
    episode: bool,
}

/// What people should hear of.
#[derive(Clone, Debug, PartialEq)]
pub enum DriftNotice {
    /// These drift; nothing did before.
    Began(Vec<Difference>),
    /// Nothing drifts any more.
    Ended,
}

/// Where one distribution stands.
#[derive(Clone, Debug, Default)]
struct Subject {
    /// The last judgement.
    judged: Option<Difference>,
    drifts: bool,
    calm: u32,
}

impl DriftWatch {
    /// Nothing gathered yet.
    #[must_use]
    pub fn new(profile: Arc<Profile>) -> Self {
        let rows = profile.distributions();
        Self {
            rows: rows
                .map(|(_, of)| (of.counts(), Subject::default()))
                .collect(),
            profile,
            classes: (Classes::default(), Subject::default()),
            episode: false,
        }
    }

    /// The profile it compares with.
    #[must_use]
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// Takes what one window counted.
    pub fn observe(&mut self, stats: &ModelStats) -> Option<DriftNotice> {
        if stats.baseline.profile == self.profile.counts().profile {
            let counted = self.profile.distributions().zip(&stats.baseline.rows);
            for (((name, of), counts), (gathered, subject)) in counted.zip(&mut self.rows) {
                gathered.merge(counts);
                if subject.judge(Difference::of(name, of, gathered)) {
                    *gathered = of.counts();
                }
            }
        }
        if let Some(shares) = self.profile.classes() {
            let (gathered, subject) = &mut self.classes;
            gathered.merge(&stats.classes);
            if subject.judge(shares.difference(gathered)) {
                *gathered = Classes::default();
            }
        }
        let drifting = self.drifting();
        match (self.episode, drifting.is_empty()) {
            (false, false) => {
                self.episode = true;
                Some(DriftNotice::Began(drifting))
            }
            (true, true) => {
                self.episode = false;
                Some(DriftNotice::Ended)
            }
            (true, false) | (false, true) => None,
        }
    }

    /// Whether an episode that began has not ended yet.
    #[must_use]
    pub fn is_drifting(&self) -> bool {
        self.episode
    }

    /// Every distribution as it was judged last, in the order of the profile. One that was never judged says how many
    /// samples it has.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let named = self.profile.distributions().zip(&self.rows);
        let mut told: Vec<Difference> = named
            .map(|((name, of), (gathered, subject))| subject.told(|| unjudged(name, of, gathered)))
            .collect();
        if let Some(shares) = self.profile.classes() {
            let (gathered, subject) = &self.classes;
            let open = Difference {
                name: CLASSES_NAME.to_owned(),
                verdict: Verdict::Inconclusive,
                ..shares.difference(gathered)
            };
            told.push(subject.told(|| open));
        }
        told
    }

    fn drifting(&self) -> Vec<Difference> {
        let mut told = self.differences();
        told.retain(|difference| difference.verdict == Verdict::Drift);
        told
    }
}

impl Subject {
    /// Whether this was a judgement: enough was gathered for one.
    fn judge(&mut self, difference: Difference) -> bool {
        match difference.verdict {
            Verdict::Inconclusive => return false,
            Verdict::Drift => (self.drifts, self.calm) = (true, 0),
            Verdict::Watch => self.calm = 0,
            Verdict::Steady => {
                self.calm += 1;
                self.drifts &= self.calm < CALM_JUDGEMENTS;
            }
        }
        self.judged = Some(difference);
        true
    }

    /// The last judgement; a drift stays one until it has ended.
    fn told(&self, unjudged: impl FnOnce() -> Difference) -> Difference {
        let mut told = self.judged.clone().unwrap_or_else(unjudged);
        if self.drifts {
            told.verdict = Verdict::Drift;
        }
        told
    }
}

fn unjudged(name: &str, of: &Distribution, gathered: &Histogram) -> Difference {
    Difference {
        verdict: Verdict::Inconclusive,
        ..Difference::of(name, of, gathered)
    }
}

/// `pressure (PSI 0.41, KS 0.22)`, for people.
#[must_use]
pub fn describe(differences: &[Difference]) -> String {
    let described = differences
        .iter()
        .map(|difference| match difference.distance {
            Some(distance) => format!(
                "{} (PSI {:.2}, KS {:.2})",
                difference.name, distance.psi, distance.ks
            ),
            None => difference.name.clone(),
        });
    described.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
