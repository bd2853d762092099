//! What every detector has at first: many boxes, most of them the same thing seen twice.

use std::cmp::Ordering;

use super::{CANDIDATES_MAX, DETECTIONS_MAX, Labels};
use crate::decoded::Detection;
use crate::preprocess::placement::Placement;

/// A box in the model's pixels that may be a detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) score: f32,
    pub(super) class: u32,
    /// Which of the model's boxes it is.
    pub(super) anchor: u32,
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Candidate {
    /// A box around a middle.
    pub(super) fn around(
        (x, y): (f32, f32),
        (width, height): (f32, f32),
        (score, class, anchor): (f32, u32, usize),
    ) -> Self {
        Self {
            score,
            class,
            // A tensor with more anchors does not fit in memory.
            anchor: u32::try_from(anchor).unwrap_or(u32::MAX),
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        }
    }

    /// Whether it is a box at all: finite, and its sides have a length.
    fn is_sound(&self) -> bool {
        let Self {
            score,
            left,
            top,
            right,
            bottom,
            ..
        } = *self;
        [score, left, top, right, bottom]
            .iter()
            .all(|number| number.is_finite())
            && right > left
            && bottom > top
    }

    /// Surest first; the model's own order where two are as sure, so that a result does not depend on sorting.
    fn order(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(self.anchor.cmp(&other.anchor))
    }

    /// Intersection over union. The areas are those of `f64`, which no box of `f32` overflows.
    fn iou(&self, other: &Self) -> f64 {
        let width = f64::from(self.right.min(other.right)) - f64::from(self.left.max(other.left));
        let height = f64::from(self.bottom.min(other.bottom)) - f64::from(self.top.max(other.top));
        let common = width.max(0.0) * height.max(0.0);
        common / (self.area() + other.area() - common)
    }

    fn area(&self) -> f64 {
        (f64::from(self.right) - f64::from(self.left))
            * (f64::from(self.bottom) - f64::from(self.top))
    }
}

/// The surest candidates, at most `max`, no two of one class overlapping by more than `iou`; surest first.
pub(super) fn suppress(mut candidates: Vec<Candidate>, iou: f32, max: usize) -> Vec<Candidate> {
    candidates.retain(Candidate::is_sound);
    if candidates.len() > CANDIDATES_MAX {
        candidates.select_nth_unstable_by(CANDIDATES_MAX, Candidate::order);
        candidates.truncate(CANDIDATES_MAX);
    }
    candidates.sort_unstable_by(Candidate::order);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == max.min(DETECTIONS_MAX) {
            break;
        }
        let is_new = kept
            .iter()
            .all(|other| other.class != candidate.class || candidate.iou(other) <= f64::from(iou));
        if is_new {
            kept.push(candidate);
        }
    }
    kept
}

/// The detection a candidate is, in the frame and cut off at its edges; `None` when nothing of it is inside.
pub(super) fn detection(
    candidate: &Candidate,
    labels: &Labels,
    placement: Option<&Placement>,
) -> Option<Detection> {
    let (mut left, mut top) = (candidate.left, candidate.top);
    let (mut right, mut bottom) = (candidate.right, candidate.bottom);
    if let Some(placement) = placement {
        let (width, height) = placement.frame_size();
        let (width, height) = (width as f32, height as f32);
        (left, top) = placement.to_frame((left, top));
        (right, bottom) = placement.to_frame((right, bottom));
        (left, right) = (left.clamp(0.0, width), right.clamp(0.0, width));
        (top, bottom) = (top.clamp(0.0, height), bottom.clamp(0.0, height));
    }
    let (width, height) = (right - left, bottom - top);
    let is_inside = width > 0.0 && height > 0.0 && width.is_finite() && height.is_finite();
    is_inside.then(|| Detection {
        label: labels.name(candidate.class),
        class: candidate.class,
        score: candidate.score,
        x: left,
        y: top,
        width,
        height,
        landmarks: Vec::new(),
    })
}
