//! Writing Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use millwright_proto::ids::ModelVersion;
use millwright_summary::{ModelLabel, Sketch};

/// Quantiles of a sketch that are shown.
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (0.999, "0.999")];

/// Type of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

/// A page. A family without a sample is left out.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    name: String,
    /// Help and type of the family, until its first sample.
    head: String,
}

/// Names and values of labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn none() -> Self {
        Self::default()
    }

    pub(super) fn of(model: &ModelVersion) -> Self {
        Self::default()
            .and("model", model.model.as_str())
            .and("version", model.version.as_str())
    }

    pub(super) fn of_label(label: &ModelLabel) -> Self {
        Self::default()
            .and("model", &label.model)
            .and("version", &label.version)
    }

    pub(super) fn and(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let value = value.replace('\n', "\\n");
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}=\"{value}\"");
        self
    }
}

impl Page {
    /// Begins a family; the samples that follow belong to it.
    pub(super) fn family(&mut self, name: impl Into<String>, kind: Kind, help: &str) {
        self.name = name.into();
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        let name = &self.name;
        self.head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(super) fn sample(&mut self, labels: &Labels, value: f64) {
        self.part("", labels, value);
    }

    /// A sample of a part of a histogram or summary, for example `_sum`.
    pub(super) fn part(&mut self, suffix: &str, labels: &Labels, value: f64) {
        self.text.push_str(&std::mem::take(&mut self.head));
        let name = &self.name;
        let _ = if labels.0.is_empty() {
            writeln!(self.text, "{name}{suffix} {value}")
        } else {
            writeln!(self.text, "{name}{suffix}{{{}}} {value}", labels.0)
        };
    }

    /// A sketch as quantiles, sum and count; its numbers are multiplied by `unit`. Nothing for one without numbers.
    pub(super) fn sketch(&mut self, labels: &Labels, sketch: &Sketch, unit: f64) {
        if sketch.count() == 0 {
            return;
        }
        for (quantile, label) in QUANTILES {
            if let Some(value) = sketch.quantile(quantile) {
                self.sample(&labels.clone().and("quantile", label), value * unit);
            }
        }
        self.part("_sum", labels, sketch.sum() * unit);
        self.part("_count", labels, sketch.count() as f64);
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}
