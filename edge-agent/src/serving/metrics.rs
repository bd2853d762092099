//! Prometheus text: counters since the start, and the last closed window in aggregated form.
//!
//! Names follow Prometheus' own rules: base units (seconds, bytes, ratios), `_total` for counters, help and type for each;
//! `promtool check metrics` has nothing to say, and a test here checks the same rules. `/metrics` is what a Prometheus beside
//! the node scrapes; `/metrics/summary` has no buckets and fits a central one.

mod node;
mod page;
mod summary;

use super::models::{ActiveModels, Readiness};
use crate::telemetry::counters::{Counters, Durations, LATENCY_BOUNDS_S, ModelCounters};
use crate::telemetry::node::process_memory_bytes;
use crate::telemetry::{Drift, Recorder};
use page::{Kind, Labels, Page};
pub use summary::summary;

/// `/metrics`: requests, errors, latency and drift of every model version since the agent started.
#[must_use]
pub fn counters(recorder: &Recorder, models: &ActiveModels) -> String {
    let counters = recorder.counters();
    let mut page = Page::default();
    let ready = matches!(models.readiness(), Readiness::Ready);
    let gauge = |page: &mut Page, name: &'static str, help: &'static str, value: f64| {
        page.family(name, Kind::Gauge, help);
        page.sample(&Labels::none(), value);
    };
    gauge(
        &mut page,
        "millwright_agent_up",
        "1 while the agent runs.",
        1.0,
    );
    gauge(
        &mut page,
        "millwright_agent_ready",
        "1 when every expected model has a ready worker.",
        f64::from(u8::from(ready)),
    );
    gauge(
        &mut page,
        "millwright_agent_start_time_seconds",
        "When the agent started, Unix time.",
        counters.started_ms as f64 / 1000.0,
    );
    if let Some(bytes) = process_memory_bytes("self") {
        gauge(
            &mut page,
            "millwright_agent_memory_bytes",
            "Memory of the agent itself, without its workers.",
            bytes as f64,
        );
    }
    node::now(&mut page, &counters.gauges);
    workers(&mut page, models);
    requests(&mut page, &counters);
    durations(&mut page, &counters);
    drift(&mut page, &recorder.drift());
    page.text()
}

fn workers(page: &mut Page, models: &ActiveModels) {
    let workers = models.workers();
    page.family(
        "millwright_worker_up",
        Kind::Gauge,
        "1 while the worker of an active version runs.",
    );
    for worker in &workers {
        let up = f64::from(u8::from(!worker.has_ended()));
        page.sample(&Labels::of(worker.model()), up);
    }
    page.family(
        "millwright_worker_requests_in_progress",
        Kind::Gauge,
        "Requests waiting or running.",
    );
    for worker in &workers {
        page.sample(&Labels::of(worker.model()), worker.requests() as f64);
    }
    page.family(
        "millwright_worker_memory_bytes",
        Kind::Gauge,
        "Memory of the worker of an active version.",
    );
    for worker in &workers {
        if let Some(bytes) = worker.memory_bytes() {
            page.sample(&Labels::of(worker.model()), bytes as f64);
        }
    }
}

fn requests(page: &mut Page, counters: &Counters) {
    page.family(
        "millwright_inference_requests_total",
        Kind::Counter,
        "Inference requests, failed ones included.",
    );
    for (model, counters) in &counters.models {
        page.sample(&Labels::of(model), counters.requests as f64);
    }
    page.family(
        "millwright_inference_errors_total",
        Kind::Counter,
        "Failed inference requests by class.",
    );
    for (model, counters) in &counters.models {
        for (class, count) in &counters.errors {
            let labels = Labels::of(model).and("class", class.as_str());
            page.sample(&labels, *count as f64);
        }
    }
    page.family(
        "millwright_inference_answers_total",
        Kind::Counter,
        "Answers by the class the model gave; -1 are those of the less frequent classes together.",
    );
    for (model, counters) in &counters.models {
        for (class, count) in classes(&counters.classes) {
            page.sample(&Labels::of(model).and("answer", &class), count as f64);
        }
    }
}

/// The most frequent classes by number, and the rest.
fn classes(classes: &millwright_summary::Classes) -> Vec<(String, u64)> {
    let shown = classes.shortened(|_| false);
    let mut told: Vec<(String, u64)> = shown
        .iter()
        .map(|(class, count)| (class.to_string(), count))
        .collect();
    if shown.other() > 0 {
        told.push(("-1".to_owned(), shown.other()));
    }
    told
}

fn durations(page: &mut Page, counters: &Counters) {
    page.family(
        "millwright_inference_duration_seconds",
        Kind::Histogram,
        "Time of answered requests in the agent.",
    );
    for (model, ModelCounters { latency, .. }) in &counters.models {
        histogram(page, &Labels::of(model), latency);
    }
    page.family(
        "millwright_inference_phase_duration_seconds",
        Kind::Histogram,
        "Where the time of answered requests went.",
    );
    for (model, counters) in &counters.models {
        for (phase, durations) in &counters.phases {
            if durations.count > 0 {
                histogram(page, &Labels::of(model).and("phase", phase), durations);
            }
        }
    }
}

fn histogram(page: &mut Page, labels: &Labels, durations: &Durations) {
    let mut within = 0;
    for (bound, count) in LATENCY_BOUNDS_S.iter().zip(durations.buckets) {
        within += count;
        let labels = labels.clone().and("le", &bound.to_string());
        page.part("_bucket", &labels, within as f64);
    }
    let count = durations.count as f64;
    page.part("_bucket", &labels.clone().and("le", "+Inf"), count);
    page.part("_sum", labels, durations.sum_s);
    page.part("_count", labels, count);
}

fn drift(page: &mut Page, drift: &[Drift]) {
    let each =
        |page: &mut Page,
         value: &dyn Fn(&millwright_package::profile::Difference) -> Option<f64>| {
            for model in drift {
                for difference in &model.differences {
                    if let Some(value) = value(difference) {
                        let labels = Labels::of(&model.model).and("distribution", &difference.name);
                        page.sample(&labels, value);
                    }
                }
            }
        };
    page.family(
        "millwright_drift_verdict",
        Kind::Gauge,
        "Inputs and outputs beside the package's baseline: 0 inconclusive, 1 steady, 2 watch, 3 drift.",
    );
    each(page, &|difference| {
        Some(f64::from(difference.verdict as u8))
    });
    page.family(
        "millwright_drift_population_stability_index",
        Kind::Gauge,
        "Population stability index of the last judgement.",
    );
    each(page, &|difference| {
        difference.distance.map(|distance| distance.psi)
    });
    page.family(
        "millwright_drift_kolmogorov_smirnov_distance",
        Kind::Gauge,
        "Largest difference of the cumulative shares in the last judgement.",
    );
    each(page, &|difference| {
        difference.distance.map(|distance| distance.ks)
    });
    page.family(
        "millwright_drift_outside_ratio",
        Kind::Gauge,
        "Share of values that the baseline never had, in the last judgement.",
    );
    each(page, &|difference| {
        difference.distance.map(|_| difference.outside)
    });
}

#[cfg(test)]
mod tests;
