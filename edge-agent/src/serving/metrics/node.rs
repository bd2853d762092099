//! Gauges of the node under names with base units.

use std::collections::BTreeMap;

use millwright_summary::{Gauge, gauge};

use super::page::{Kind, Labels, Page};

/// A gauge as it is measured, the name Prometheus has for it, and what one of its units is there.
const NAMES: [(&str, &str, f64, &str); 11] = [
    (
        gauge::CPU_PERCENT,
        "cpu_utilization_ratio",
        0.01,
        "Share of all cores in use.",
    ),
    (
        gauge::MEMORY_USED_BYTES,
        "memory_used_bytes",
        1.0,
        "Memory in use.",
    ),
    (
        gauge::MEMORY_TOTAL_BYTES,
        "memory_size_bytes",
        1.0,
        "Memory of the node.",
    ),
    (
        gauge::DISK_USED_BYTES,
        "disk_used_bytes",
        1.0,
        "Disk in use where the agent keeps its data.",
    ),
    (
        gauge::DISK_TOTAL_BYTES,
        "disk_size_bytes",
        1.0,
        "Size of that disk.",
    ),
    (
        gauge::TEMPERATURE_CELSIUS,
        "temperature_celsius",
        1.0,
        "The hottest thermal zone.",
    ),
    (
        gauge::AGENT_MEMORY_BYTES,
        "agent_memory_bytes",
        1.0,
        "Memory of the agent and its workers.",
    ),
    (
        gauge::OUTBOX_WRITTEN_BYTES,
        "outbox_written_bytes",
        1.0,
        "Written to the disk since midnight.",
    ),
    (
        gauge::ACCELERATOR_PERCENT,
        "accelerator_utilization_ratio",
        0.01,
        "How busy the busiest accelerator is.",
    ),
    (
        gauge::ACCELERATOR_CELSIUS,
        "accelerator_temperature_celsius",
        1.0,
        "The hottest accelerator.",
    ),
    (
        gauge::ACCELERATOR_MEMORY_USED_BYTES,
        "accelerator_memory_used_bytes",
        1.0,
        "Memory in use on accelerators.",
    ),
];

/// The last samples.
pub(super) fn now(page: &mut Page, gauges: &BTreeMap<&'static str, f64>) {
    for (gauge, name, unit, help) in NAMES {
        if let Some(value) = gauges.get(gauge) {
            page.family(format!("millwright_node_{name}"), Kind::Gauge, help);
            page.sample(&Labels::none(), value * unit);
        }
    }
}

/// The samples of a window: lowest, average, highest.
pub(super) fn window(page: &mut Page, gauges: &BTreeMap<String, Gauge>) {
    for (gauge, name, unit, help) in NAMES {
        if let Some(samples) = gauges.get(gauge) {
            page.family(format!("millwright_window_node_{name}"), Kind::Gauge, help);
            statistics(page, &Labels::none(), samples, unit);
        }
    }
}

/// Lowest, average and highest sample.
pub(super) fn statistics(page: &mut Page, labels: &Labels, samples: &Gauge, unit: f64) {
    let values = [
        ("min", samples.min()),
        ("mean", samples.mean()),
        ("max", samples.max()),
    ];
    for (stat, value) in values {
        if let Some(value) = value {
            page.sample(&labels.clone().and("stat", stat), value * unit);
        }
    }
}
