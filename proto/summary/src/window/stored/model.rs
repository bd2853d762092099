//! The stored form of what one model version did.

use std::collections::BTreeMap;

use super::{DecodeError, count, name, packed, samples_from_wire};
use crate::sketch::SketchError;
use crate::window::{ErrorClass, ImageStats, ModelLabel, ModelStats, Phases};
use crate::{Gauge, Sketch, wire};

pub(super) fn to_wire((label, stats): (&ModelLabel, &ModelStats)) -> wire::Model {
    let phases = &stats.phases;
    wire::Model {
        model: label.model.clone(),
        version: label.version.clone(),
        requests: stats.requests,
        errors: stats
            .errors
            .iter()
            .map(|(class, count)| wire::ErrorCount {
                class: wire::ErrorClass::from(*class).into(),
                count: *count,
            })
            .collect(),
        latency_ms: sketch_to_wire(&stats.latency_ms),
        confidence: sketch_to_wire(&stats.confidence),
        queue_ms: sketch_to_wire(&phases.queue_ms),
        preprocess_ms: sketch_to_wire(&phases.preprocess_ms),
        infer_ms: sketch_to_wire(&phases.infer_ms),
        postprocess_ms: sketch_to_wire(&phases.postprocess_ms),
        ready_ms: stats.ready_ms,
        classes: packed::classes(&stats.classes),
        image: image_to_wire(&stats.image),
        baseline: (stats.baseline.profile != 0).then(|| wire::Baseline {
            profile: stats.baseline.profile,
            packed: packed::rows(&stats.baseline.rows),
        }),
    }
}

pub(super) fn from_wire(wire: &wire::Model) -> Result<(ModelLabel, ModelStats), DecodeError> {
    let label = ModelLabel {
        model: name(&wire.model, "model")?,
        version: name(&wire.version, "model")?,
    };
    let mut errors = BTreeMap::new();
    for error in &wire.errors {
        let own = errors.entry(ErrorClass::from(error.class())).or_default();
        *own = crate::add_counts(*own, count(error.count)?);
    }
    let stats = ModelStats {
        requests: count(wire.requests)?,
        errors,
        latency_ms: sketch_from_wire(wire.latency_ms.as_ref(), "latency")?,
        phases: Phases {
            queue_ms: sketch_from_wire(wire.queue_ms.as_ref(), "queue")?,
            preprocess_ms: sketch_from_wire(wire.preprocess_ms.as_ref(), "preprocess")?,
            infer_ms: sketch_from_wire(wire.infer_ms.as_ref(), "infer")?,
            postprocess_ms: sketch_from_wire(wire.postprocess_ms.as_ref(), "postprocess")?,
        },
        confidence: sketch_from_wire(wire.confidence.as_ref(), "confidence")?,
        classes: packed::read_classes(&wire.classes).ok_or(DecodeError::Counts("class"))?,
        image: image_from_wire(wire.image.as_ref())?,
        baseline: wire
            .baseline
            .as_ref()
            .map_or(Some(crate::BaselineCounts::default()), |baseline| {
                packed::read_rows(baseline.profile, &baseline.packed)
            })
            .ok_or(DecodeError::Counts("baseline"))?,
        ready_ms: count(wire.ready_ms)?,
    };
    Ok((label, stats))
}

/// An empty sketch is left out.
fn sketch_to_wire(sketch: &Sketch) -> Option<wire::Sketch> {
    (sketch.count() > 0 || sketch.not_finite() > 0).then(|| sketch.to_wire())
}

fn sketch_from_wire(
    wire: Option<&wire::Sketch>,
    which: &'static str,
) -> Result<Sketch, DecodeError> {
    wire.map_or(Ok(Sketch::new()), Sketch::from_wire)
        .map_err(|why: SketchError| DecodeError::Sketch {
            which,
            why: why.to_string(),
        })
}

fn image_to_wire(image: &ImageStats) -> Option<wire::Image> {
    let quality = |gauge: &Gauge| {
        (gauge.count() > 0).then(|| wire::Gauge {
            packed: gauge.pack(),
            ..wire::Gauge::default()
        })
    };
    let stored = wire::Image {
        brightness: quality(&image.brightness),
        contrast: quality(&image.contrast),
        sharpness: quality(&image.sharpness),
    };
    (stored != wire::Image::default()).then_some(stored)
}

fn image_from_wire(wire: Option<&wire::Image>) -> Result<ImageStats, DecodeError> {
    let Some(wire) = wire else {
        return Ok(ImageStats::default());
    };
    let quality =
        |gauge: Option<&wire::Gauge>| gauge.map_or(Ok(Gauge::default()), samples_from_wire);
    Ok(ImageStats {
        brightness: quality(wire.brightness.as_ref())?,
        contrast: quality(wire.contrast.as_ref())?,
        sharpness: quality(wire.sharpness.as_ref())?,
    })
}
