//! Prometheus text: counters since the start, and the last closed window in aggregated form.

mod summary;

use std::fmt::Write;

use super::models::{ActiveModels, Readiness};
use crate::telemetry::counters::{Counters, LATENCY_BOUNDS_S, ModelCounters};
use crate::telemetry::node::process_memory_bytes;
pub use summary::summary;

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
