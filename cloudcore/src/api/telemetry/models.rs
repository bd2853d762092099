//! What one model version did, as the API tells it.

use fleet_api::{DistributionDrift, Drift, GaugeSummary, ModelSummary, Quantiles};
use millwright_package::Profile;
use millwright_package::profile::worst;
use millwright_summary::{Gauge, ModelLabel, ModelStats, Sketch};

pub(super) fn summary(
    label: &ModelLabel,
    stats: &ModelStats,
    profile: Option<&Profile>,
) -> ModelSummary {
    let classes = stats.classes.iter();
    let classes = classes.map(|(class, count)| (class.to_string(), count));
    let other = Some(stats.classes.other()).filter(|count| *count > 0);
    let phases = stats.phases.named().into_iter();
    let image = stats.image.named().into_iter();
    ModelSummary {
        model: label.model.clone(),
        version: label.version.clone(),
        requests: stats.requests,
        errors: stats
            .errors
            .iter()
            .map(|(class, count)| (class.to_string(), *count))
            .collect(),
        latency_ms: quantiles(&stats.latency_ms),
        phases_ms: phases
            .filter(|(_, sketch)| sketch.count() > 0)
            .map(|(name, sketch)| (name.to_owned(), quantiles(sketch)))
            .collect(),
        confidence: quantiles(&stats.confidence),
        classes: classes
            .chain(other.map(|count| ("other".to_owned(), count)))
            .collect(),
        image: image
            .filter_map(|(name, samples)| Some((name.to_owned(), gauge(samples)?)))
            .collect(),
        ready_ms: stats.ready_ms,
        drift: profile.map(|profile| drift(profile, stats)),
    }
}

/// `None` without samples.
pub(super) fn gauge(gauge: &Gauge) -> Option<GaugeSummary> {
    Some(GaugeSummary {
        min: gauge.min()?,
        mean: gauge.mean()?,
        max: gauge.max()?,
    })
}

fn drift(profile: &Profile, stats: &ModelStats) -> Drift {
    let differences = profile.compare(stats);
    let distributions = differences.iter().map(|difference| DistributionDrift {
        name: difference.name.clone(),
        verdict: difference.verdict.as_str().to_owned(),
        samples: difference.distance.map_or(0, |distance| distance.samples),
        psi: difference.distance.map(|distance| distance.psi),
        ks: difference.distance.map(|distance| distance.ks),
        outside: difference.outside,
    });
    Drift {
        verdict: worst(&differences).as_str().to_owned(),
        distributions: distributions.collect(),
    }
}

fn quantiles(sketch: &Sketch) -> Quantiles {
    Quantiles {
        count: sketch.count(),
        min: sketch.min(),
        p50: sketch.quantile(0.5),
        p90: sketch.quantile(0.9),
        p99: sketch.quantile(0.99),
        max: sketch.max(),
    }
}
