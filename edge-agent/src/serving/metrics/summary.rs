//! The last closed window in aggregated form.

use millwright_summary::{ModelStats, Window};

use super::page::{Kind, Labels, Page};
use super::{Drift, classes, drift, node};

/// Milliseconds in seconds.
const MILLISECOND: f64 = 1e-3;

/// `/metrics/summary`: the last closed window as it is sent to the cloud, and what drifts; nothing before the first one.
#[must_use]
pub fn summary(window: Option<&Window>, drifts: &[Drift]) -> String {
    let mut page = Page::default();
    let Some(window) = window else {
        return page.text();
    };
    let time = &window.time;
    let times = [
        (
            "start_timestamp_seconds",
            "Beginning of the window, Unix time.",
            time.wall_start_ms,
        ),
        ("length_seconds", "Length of the window.", time.length_ms),
        (
            "coverage_seconds",
            "How much of the window was measured.",
            time.coverage_ms,
        ),
    ];
    for (name, help, milliseconds) in times {
        page.family(format!("millwright_window_{name}"), Kind::Gauge, help);
        page.sample(&Labels::none(), milliseconds as f64 / 1000.0);
    }
    counts(&mut page, window);
    sketches(&mut page, window);
    images(&mut page, window);
    node::window(&mut page, &window.node);
    link(&mut page, window);
    drift(&mut page, drifts);
    page.text()
}

fn each(window: &Window) -> impl Iterator<Item = (Labels, &ModelStats)> {
    let models = window.models.iter();
    models.map(|(label, stats)| (Labels::of_label(label), stats))
}

fn counts(page: &mut Page, window: &Window) {
    page.family(
        "millwright_window_requests",
        Kind::Gauge,
        "Requests in the window, failed ones included.",
    );
    for (labels, stats) in each(window) {
        page.sample(&labels, stats.requests as f64);
    }
    page.family(
        "millwright_window_errors",
        Kind::Gauge,
        "Failed requests in the window by class.",
    );
    for (labels, stats) in each(window) {
        for (class, count) in &stats.errors {
            page.sample(&labels.clone().and("class", class.as_str()), *count as f64);
        }
    }
    page.family(
        "millwright_window_answers",
        Kind::Gauge,
        "Answers in the window by the class the model gave; -1 are the less frequent ones together.",
    );
    for (labels, stats) in each(window) {
        for (class, count) in classes(&stats.classes) {
            page.sample(&labels.clone().and("answer", &class), count as f64);
        }
    }
    page.family(
        "millwright_window_model_ready_seconds",
        Kind::Gauge,
        "Time in the window with a ready worker.",
    );
    for (labels, stats) in each(window) {
        page.sample(&labels, stats.ready_ms as f64 * MILLISECOND);
    }
}

fn sketches(page: &mut Page, window: &Window) {
    page.family(
        "millwright_window_latency_seconds",
        Kind::Summary,
        "Latency in the window, within 1 %.",
    );
    for (labels, stats) in each(window) {
        page.sketch(&labels, &stats.latency_ms, MILLISECOND);
    }
    page.family(
        "millwright_window_phase_seconds",
        Kind::Summary,
        "Where the latency in the window went, within 1 %.",
    );
    for (labels, stats) in each(window) {
        for (phase, sketch) in stats.phases.named() {
            page.sketch(&labels.clone().and("phase", phase), sketch, MILLISECOND);
        }
    }
    page.family(
        "millwright_window_confidence",
        Kind::Summary,
        "The model's own confidence in the window, within 1 %.",
    );
    for (labels, stats) in each(window) {
        page.sketch(&labels, &stats.confidence, 1.0);
    }
}

fn images(page: &mut Page, window: &Window) {
    let qualities = [
        (
            "millwright_window_image_brightness",
            "Mean lightness of the pictures in the window, 0 to 255.",
        ),
        (
            "millwright_window_image_contrast",
            "Standard deviation of their lightness.",
        ),
        (
            "millwright_window_image_sharpness",
            "Variance of their Laplacian: low when blurred.",
        ),
    ];
    for (at, (name, help)) in qualities.into_iter().enumerate() {
        page.family(name, Kind::Gauge, help);
        for (labels, stats) in each(window) {
            node::statistics(page, &labels, stats.image.named()[at].1, 1.0);
        }
    }
}

fn link(page: &mut Page, window: &Window) {
    let link = &window.link;
    let seconds = |milliseconds: u64| milliseconds as f64 * MILLISECOND;
    let values = [
        (
            "connected_seconds",
            "Time with a connection to the cloud.",
            seconds(link.connected_ms),
        ),
        ("quic_seconds", "Of that, over QUIC.", seconds(link.quic_ms)),
        (
            "websocket_seconds",
            "Of that, over WebSocket.",
            seconds(link.websocket_ms),
        ),
        ("reconnects", "Connections opened.", link.reconnects as f64),
        ("sent_bytes", "Sent to the cloud.", link.sent_bytes as f64),
        (
            "received_bytes",
            "Received from the cloud.",
            link.received_bytes as f64,
        ),
    ];
    for (name, help, value) in values {
        page.family(format!("millwright_window_link_{name}"), Kind::Gauge, help);
        page.sample(&Labels::none(), value);
    }
}
