//! The last closed window in aggregated form.

use millwright_summary::{Sketch, Window};

use super::{family, labels, sample};

/// Quantiles of a sketch that are shown.
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (0.999, "0.999")];

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
