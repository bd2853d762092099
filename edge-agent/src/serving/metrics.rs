//! Prometheus text: counters since the start, and the last closed window in aggregated form.

use std::fmt::Write;

use millwright_summary::{Sketch, Window};

use super::models::{ActiveModels, Readiness};
use crate::telemetry::counters::{Counters, LATENCY_BOUNDS_S, ModelCounters};
use crate::telemetry::node::process_memory_bytes;

/// Quantiles of a sketch that are shown.
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (0.999, "0.999")];

/// `/metrics`: requests, errors and latency of every model version since the agent started.
#[must_use]
pub fn counters(counters: &Counters, models: &ActiveModels) -> String {
    let mut text = String::new();
    let ready = matches!(models.readiness(), Readiness::Ready);
    family(
        &mut text,
        "millwright_agent_up",
        "gauge",
        "1 while the agent runs.",
    );
    sample(&mut text, "millwright_agent_up", "", 1.0);
    family(
        &mut text,
        "millwright_agent_ready",
        "gauge",
        "1 when every expected model has a ready worker.",
    );
    sample(
        &mut text,
        "millwright_agent_ready",
        "",
        f64::from(u8::from(ready)),
    );
    if let Some(bytes) = process_memory_bytes("self") {
        let name = "millwright_agent_memory_bytes";
        family(
            &mut text,
            name,
            "gauge",
            "Memory of the agent itself, without its workers.",
        );
        sample(&mut text, name, "", bytes as f64);
    }
    workers(&mut text, models);
    requests(&mut text, counters);
    latencies(&mut text, counters);
    text
}

fn workers(text: &mut String, models: &ActiveModels) {
    let workers = models.workers();
    let labels: Vec<String> = workers
        .iter()
        .map(|worker| {
            labels(
                worker.model().model.as_str(),
                worker.model().version.as_str(),
            )
        })
        .collect();
    let name = "millwright_worker_up";
    family(
        text,
        name,
        "gauge",
        "1 while the worker of an active version runs.",
    );
    for (worker, labels) in workers.iter().zip(&labels) {
        sample(text, name, labels, f64::from(u8::from(!worker.has_ended())));
    }
    let name = "millwright_worker_requests_in_progress";
    family(text, name, "gauge", "Requests waiting or running.");
    for (worker, labels) in workers.iter().zip(&labels) {
        sample(text, name, labels, worker.requests() as f64);
    }
    let name = "millwright_worker_memory_bytes";
    family(
        text,
        name,
        "gauge",
        "Memory of the worker of an active version.",
    );
    for (worker, labels) in workers.iter().zip(&labels) {
        if let Some(bytes) = worker.memory_bytes() {
            sample(text, name, labels, bytes as f64);
        }
    }
}

fn requests(text: &mut String, counters: &Counters) {
    let name = "millwright_inference_requests_total";
    family(
        text,
        name,
        "counter",
        "Inference requests, failed ones included.",
    );
    for (model, counters) in &counters.models {
        let labels = labels(model.model.as_str(), model.version.as_str());
        sample(text, name, &labels, counters.requests as f64);
    }
    let name = "millwright_inference_errors_total";
    family(text, name, "counter", "Failed inference requests by class.");
    for (model, counters) in &counters.models {
        let labels = labels(model.model.as_str(), model.version.as_str());
        for (class, count) in &counters.errors {
            sample(
                text,
                name,
                &format!("{labels},class=\"{class}\""),
                *count as f64,
            );
        }
    }
}

fn latencies(text: &mut String, counters: &Counters) {
    let name = "millwright_inference_duration_seconds";
    family(
        text,
        name,
        "histogram",
        "Time of answered requests in the agent.",
    );
    for (model, counters) in &counters.models {
        let labels = labels(model.model.as_str(), model.version.as_str());
        histogram(text, name, &labels, counters);
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, counters: &ModelCounters) {
    let mut within = 0;
    for (bound, count) in LATENCY_BOUNDS_S.iter().zip(counters.buckets) {
        within += count;
        sample(
            text,
            &format!("{name}_bucket"),
            &format!("{labels},le=\"{bound}\""),
            within as f64,
        );
    }
    let answered = counters.answered as f64;
    sample(
        text,
        &format!("{name}_bucket"),
        &format!("{labels},le=\"+Inf\""),
        answered,
    );
    sample(text, &format!("{name}_sum"), labels, counters.latency_sum_s);
    sample(text, &format!("{name}_count"), labels, answered);
}

/// `/metrics/summary`: the last closed window as it is sent to the cloud; nothing before the first one.
#[must_use]
pub fn summary(window: Option<&Window>) -> String {
    let mut text = String::new();
    let Some(window) = window else {
        return text;
    };
    let times = [
        (
            "start_seconds",
            "Beginning of the window, Unix time.",
            window.time.wall_start_ms,
        ),
        (
            "length_seconds",
            "Length of the window.",
            window.time.length_ms,
        ),
        (
            "coverage_seconds",
            "How much of the window was measured.",
            window.time.coverage_ms,
        ),
    ];
    for (name, help, milliseconds) in times {
        let name = format!("millwright_summary_window_{name}");
        family(&mut text, &name, "gauge", help);
        sample(&mut text, &name, "", milliseconds as f64 / 1000.0);
    }
    summary_models(&mut text, window);
    summary_node(&mut text, window);
    summary_link(&mut text, window);
    text
}

fn summary_node(text: &mut String, window: &Window) {
    let name = "millwright_summary_node";
    family(
        text,
        name,
        "gauge",
        "Samples of the node in the window: lowest, average, highest.",
    );
    for (gauge, samples) in &window.node {
        let values = [
            ("min", samples.min()),
            ("mean", samples.mean()),
            ("max", samples.max()),
        ];
        for (stat, value) in values {
            if let Some(value) = value {
                sample(
                    text,
                    name,
                    &format!("gauge=\"{gauge}\",stat=\"{stat}\""),
                    value,
                );
            }
        }
    }
}

fn summary_link(text: &mut String, window: &Window) {
    let link = [
        (
            "connected_seconds",
            window.link.connected_ms as f64 / 1000.0,
        ),
        ("quic_seconds", window.link.quic_ms as f64 / 1000.0),
        (
            "websocket_seconds",
            window.link.websocket_ms as f64 / 1000.0,
        ),
        ("reconnects", window.link.reconnects as f64),
        ("sent_bytes", window.link.sent_bytes as f64),
        ("received_bytes", window.link.received_bytes as f64),
    ];
    for (name, value) in link {
        let name = format!("millwright_summary_link_{name}");
        family(
            text,
            &name,
            "gauge",
            "The connection to the cloud in the window.",
        );
        sample(text, &name, "", value);
    }
}

fn summary_models(text: &mut String, window: &Window) {
    let name = "millwright_summary_requests";
    family(
        text,
        name,
        "gauge",
        "Requests in the window, failed ones included.",
    );
    for (model, stats) in &window.models {
        sample(
            text,
            name,
            &labels(&model.model, &model.version),
            stats.requests as f64,
        );
    }
    let name = "millwright_summary_errors";
    family(
        text,
        name,
        "gauge",
        "Failed requests in the window by class.",
    );
    for (model, stats) in &window.models {
        for (class, count) in &stats.errors {
            let labels = labels(&model.model, &model.version);
            sample(
                text,
                name,
                &format!("{labels},class=\"{class}\""),
                *count as f64,
            );
        }
    }
    let name = "millwright_summary_latency_milliseconds";
    family(text, name, "summary", "Latency in the window, within 1 %.");
    for (model, stats) in &window.models {
        quantiles(
            text,
            name,
            &labels(&model.model, &model.version),
            &stats.latency_ms,
        );
    }
    let name = "millwright_summary_confidence";
    family(
        text,
        name,
        "summary",
        "The model's own confidence in the window, within 1 %.",
    );
    for (model, stats) in &window.models {
        quantiles(
            text,
            name,
            &labels(&model.model, &model.version),
            &stats.confidence,
        );
    }
}

fn quantiles(text: &mut String, name: &str, labels: &str, sketch: &Sketch) {
    for (quantile, label) in QUANTILES {
        if let Some(value) = sketch.quantile(quantile) {
            sample(text, name, &format!("{labels},quantile=\"{label}\""), value);
        }
    }
    sample(text, &format!("{name}_sum"), labels, sketch.sum());
    sample(
        text,
        &format!("{name}_count"),
        labels,
        sketch.count() as f64,
    );
}

/// Names and versions consist of characters that need no escape.
fn labels(model: &str, version: &str) -> String {
    format!("model=\"{model}\",version=\"{version}\"")
}

// Writing to a string cannot fail.
fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name} {value}")
    } else {
        writeln!(text, "{name}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests;
