//! What a node measured lately, as `describe` shows it.

use fleet_api::{Drift, ModelSummary, SummaryReport};

use crate::output::{Column, Page};

/// One row for each model version the node answered with, and what drifts.
pub(crate) fn measured(page: &mut Page, report: &SummaryReport) {
    let columns = [
        "MODEL",
        "VERSION",
        "REQUESTS",
        "PER SECOND",
        "ERRORS",
        "P50 MS",
        "P99 MS",
        "READY",
        "DRIFT",
    ];
    let models = report.nodes.iter().flat_map(|node| {
        let models = node.models.iter();
        models.map(|model| cells(model, node.coverage_ms))
    });
    page.rows("Last hour", &columns.map(Column::Always), models.collect());
}

fn cells(model: &ModelSummary, coverage_ms: u64) -> Vec<String> {
    let ms = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    let seconds = (coverage_ms.max(1)) as f64 / 1000.0;
    let ready = 100.0 * model.ready_ms as f64 / coverage_ms.max(1) as f64;
    vec![
        model.model.clone(),
        model.version.clone(),
        model.requests.to_string(),
        format!("{:.2}", model.requests as f64 / seconds),
        model.errors.values().sum::<u64>().to_string(),
        ms(model.latency_ms.p50),
        ms(model.latency_ms.p99),
        format!("{:.0} %", ready.min(100.0)),
        model.drift.as_ref().map(drift).unwrap_or_default(),
    ]
}

/// The verdict, and what it is about when it is not that all is well.
fn drift(drift: &Drift) -> String {
    let about = drift.distributions.iter();
    let about = about.filter(|of| {
        of.verdict == drift.verdict && ["watch", "drift"].contains(&of.verdict.as_str())
    });
    let about: Vec<String> = about
        .map(|of| format!("{} (PSI {:.2})", of.name, of.psi.unwrap_or_default()))
        .collect();
    if about.is_empty() {
        drift.verdict.clone()
    } else {
        format!("{}: {}", drift.verdict, about.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use fleet_api::{DistributionDrift, NodeSummary};

    use super::*;

    #[test]
    fn a_node_shows_what_its_models_did_and_what_drifts() {
        let of = |name: &str, verdict: &str| DistributionDrift {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            psi: Some(0.413),
            ..DistributionDrift::default()
        };
        let model = ModelSummary {
            model: "shuttle".to_owned(),
            version: "1.0.0".to_owned(),
            requests: 120,
            errors: [("timeout".to_owned(), 3)].into(),
            latency_ms: Default::default(),
            phases_ms: Default::default(),
            confidence: Default::default(),
            classes: Default::default(),
            image: Default::default(),
            ready_ms: 59_000,
            drift: Some(Drift {
                verdict: "drift".to_owned(),
                distributions: vec![of("f1", "steady"), of("f3", "drift")],
            }),
        };
        let node = NodeSummary {
            node: "press-1".to_owned(),
            windows: 1,
            coverage_ms: 60_000,
            lost: 0,
            payload_bytes: 400,
            first: None,
            last: None,
            models: vec![model],
            gauges: Default::default(),
        };
        let mut page = Page::default();
        measured(&mut page, &SummaryReport { nodes: vec![node] });
        let page = page.to_string();
        for words in ["2.00", "98 %", "drift: f3 (PSI 0.41)"] {
            assert!(page.contains(words), "{words}\n{page}");
        }
    }
}
