//! The text of both pages.

use std::time::Duration;

use edge_core::summary::{Aggregator, Cut, Moment, Observation};
use millwright_proto::ids::{BootId, ModelVersion};
use millwright_summary::{ClockQuality, ErrorClass, LinkStats};

use super::*;
use crate::telemetry::{Outcome, Phases, Recorder};

const START: Moment = Moment {
    monotonic_ms: 1000,
    wall_ms: 1_800_000_000_000,
    clock: ClockQuality::Synchronized,
};

fn detector() -> ModelVersion {
    "detector@1.0.0".parse().unwrap()
}

#[track_caller]
fn check_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|found| found == *line),
            "no line {line} in\n{text}"
        );
    }
}

#[test]
fn counters_show_requests_errors_and_a_cumulative_histogram() {
    let recorder = Recorder::new(BootId::from_bytes([0; 16]), START);
    for milliseconds in [2, 30] {
        let latency = Duration::from_millis(milliseconds);
        let outcome = Outcome::Answered {
            latency,
            phases: Phases {
                infer: latency,
                ..Phases::default()
            },
            confidence: None,
            class: Some(3),
        };
        recorder.request(&detector(), outcome);
    }
    recorder.request(&detector(), Outcome::Failed(ErrorClass::Timeout));
    let text = counters(&recorder, &ActiveModels::new(recorder.clone()));
    check_lines(
        &text,
        &[
            "# TYPE millwright_inference_duration_seconds histogram",
            "millwright_agent_up 1",
            "millwright_agent_ready 1",
            r#"millwright_inference_requests_total{model="detector",version="1.0.0"} 3"#,
            r#"millwright_inference_errors_total{model="detector",version="1.0.0",class="timeout"} 1"#,
            r#"millwright_inference_duration_seconds_bucket{model="detector",version="1.0.0",le="0.001"} 0"#,
            r#"millwright_inference_duration_seconds_bucket{model="detector",version="1.0.0",le="0.0025"} 1"#,
            r#"millwright_inference_duration_seconds_bucket{model="detector",version="1.0.0",le="+Inf"} 2"#,
            r#"millwright_inference_duration_seconds_sum{model="detector",version="1.0.0"} 0.032"#,
            r#"millwright_inference_phase_duration_seconds_count{model="detector",version="1.0.0",phase="infer"} 2"#,
            r#"millwright_inference_answers_total{model="detector",version="1.0.0",answer="3"} 2"#,
            "millwright_agent_start_time_seconds 1800000000",
        ],
    );
}

#[test]
fn the_summary_page_shows_the_last_window() {
    assert_eq!(summary(None, &[]), "");
    let mut open = Aggregator::new(BootId::from_bytes([0; 16]), START, LinkStats::default());
    let observation = Observation::Answered {
        latency_ms: 8.0,
        phases: edge_core::summary::Phases {
            infer_ms: 7.0,
            ..edge_core::summary::Phases::default()
        },
        confidence: Some(0.5),
        class: Some(3),
    };
    open.request(&detector(), observation);
    open.gauge("cpu_percent", 25.0);
    let end = Moment {
        monotonic_ms: 61_000,
        ..START
    };
    let window = open.cut(end, Cut::Full, LinkStats::default());
    let text = summary(Some(&window), &[]);
    check_lines(
        &text,
        &[
            "millwright_window_start_timestamp_seconds 1800000000",
            "millwright_window_coverage_seconds 60",
            r#"millwright_window_requests{model="detector",version="1.0.0"} 1"#,
            r#"millwright_window_latency_seconds_count{model="detector",version="1.0.0"} 1"#,
            r#"millwright_window_node_cpu_utilization_ratio{stat="mean"} 0.25"#,
            "millwright_window_link_reconnects 0",
        ],
    );
    let p99 = text
        .lines()
        .find(|line| line.contains("latency") && line.contains("0.99\""));
    let value: f64 = p99.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((0.007_92..=0.008_08).contains(&value), "{value}");
}

/// The rules of `promtool check metrics` that a page of ours could break.
fn findings(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut kinds = std::collections::BTreeMap::new();
    let mut helped = std::collections::BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            if help.is_empty() || !helped.insert(name) {
                found.push(format!("{name}: help missing or twice"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kinds.insert(name, kind);
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let sampled = &line[..end];
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let base = sampled.strip_suffix(suffix)?;
                matches!(kinds.get(base), Some(&"histogram" | &"summary")).then_some(base)
            });
            if !kinds.contains_key(base.unwrap_or(sampled))
                || !helped.contains(base.unwrap_or(sampled))
            {
                found.push(format!("{sampled}: no help or type"));
            }
        }
    }
    for (name, kind) in kinds {
        let words: Vec<&str> = name.split('_').collect();
        if (kind == "counter") != name.ends_with("_total") {
            found.push(format!(
                "{name}: counters end in _total and nothing else does"
            ));
        }
        let wrong = [
            "gauge",
            "counter",
            "histogram",
            "summary",
            "ms",
            "milliseconds",
            "percent",
            "kb",
            "mb",
            "celcius",
            "minutes",
            "bucket",
            "count",
            "sum",
        ];
        if let Some(word) = words.iter().find(|word| wrong.contains(word)) {
            found.push(format!("{name}: `{word}` is no base unit, or a type"));
        }
    }
    found
}

#[test]
fn both_pages_follow_the_rules_of_prometheus() {
    let recorder = Recorder::new(BootId::from_bytes([0; 16]), START);
    recorder.gauge(millwright_summary::gauge::ACCELERATOR_PERCENT, 30.0);
    recorder.request(&detector(), Outcome::Failed(ErrorClass::Timeout));
    let model = detector();
    let mut builder =
        millwright_package::profile::Builder::new(model.clone(), None, vec!["a\"b".to_owned()])
            .unwrap();
    for i in 0..1000 {
        builder.row(&[f64::from(i)]).unwrap();
    }
    recorder.baseline(&model, Some(std::sync::Arc::new(builder.build().unwrap())));
    recorder.input(&model, edge_core::summary::InputSample::Features(&[5.0]));
    let (window, _) = recorder.cut(START, Cut::Full, LinkStats::default());
    let page = counters(&recorder, &ActiveModels::new(recorder.clone()));
    check_lines(
        &page,
        &[
            "millwright_node_accelerator_utilization_ratio 0.3",
            r#"millwright_drift_verdict{model="detector",version="1.0.0",distribution="a\"b"} 0"#,
        ],
    );
    assert_eq!(findings(&page), Vec::<String>::new());
    assert_eq!(
        findings(&summary(Some(&window), &recorder.drift())),
        Vec::<String>::new()
    );
    assert_eq!(
        findings("# HELP x_ms X.\n# TYPE x_ms counter\nx_ms 1\ny 2\n").len(),
        3
    );
}
