//! The text of both pages.

use std::time::Duration;

use edge_core::summary::{Aggregator, Cut, Moment, Observation};
use millwright_proto::ids::{BootId, ModelVersion};
use millwright_summary::{ClockQuality, ErrorClass, LinkStats};

use super::*;
use crate::telemetry::{Outcome, Recorder};

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
            confidence: None,
        };
        recorder.request(&detector(), outcome);
    }
    recorder.request(&detector(), Outcome::Failed(ErrorClass::Timeout));
    let text = counters(&recorder.counters(), &ActiveModels::new(recorder.clone()));
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
        ],
    );
}

#[test]
fn the_summary_page_shows_the_last_window() {
    assert_eq!(summary(None), "");
    let mut open = Aggregator::new(BootId::from_bytes([0; 16]), START, LinkStats::default());
    let observation = Observation::Answered {
        latency_ms: 8.0,
        confidence: Some(0.5),
    };
    open.request(&detector(), observation);
    open.gauge("cpu_percent", 25.0);
    let end = Moment {
        monotonic_ms: 61_000,
        ..START
    };
    let window = open.cut(end, Cut::Full, LinkStats::default());
    let text = summary(Some(&window));
    check_lines(
        &text,
        &[
            "millwright_summary_window_start_seconds 1800000000",
            "millwright_summary_window_coverage_seconds 60",
            r#"millwright_summary_requests{model="detector",version="1.0.0"} 1"#,
            r#"millwright_summary_latency_milliseconds_count{model="detector",version="1.0.0"} 1"#,
            r#"millwright_summary_node{gauge="cpu_percent",stat="mean"} 25"#,
            "millwright_summary_link_reconnects 0",
        ],
    );
    let p99 = text
        .lines()
        .find(|line| line.contains("latency") && line.contains("0.99\""));
    let value: f64 = p99.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((7.92..=8.08).contains(&value), "{value}");
}
