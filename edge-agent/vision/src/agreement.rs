//! Whether two models say the same of one input.

use crate::decoded::{Data, Output, Value};
use crate::{Decoded, Detection};

/// Boxes that share less of what both cover are of different things: the bound by which detectors are usually judged.
const OVERLAP_MIN: f32 = 0.5;

/// Numbers that differ by more than this part of the larger one are different.
const DIFFERENCE_MAX: f64 = 0.1;

impl Decoded {
    /// Whether `other` says the same: the same things in about the same places, the same likeliest class, the same judgement
    /// about an anomaly; where there is none of these, numbers that differ by a tenth at most.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let likeliest = |of: &Self| of.classes.first().map(|class| class.class);
        let judgement = match (self.anomaly, other.anomaly) {
            (Some(own), Some(others)) => own == others,
            (own, others) => own == others && both(self.score, other.score, are_close),
        };
        judgement
            && likeliest(self) == likeliest(other)
            && same_things(&self.detections, &other.detections)
            && all(&self.values, &other.values, same_value)
            && all(&self.outputs, &other.outputs, same_output)
    }
}

/// Whether each thing of one list is in the other, once.
fn same_things(own: &[Detection], others: &[Detection]) -> bool {
    let mut left: Vec<&Detection> = others.iter().collect();
    let found = own.iter().all(|thing| {
        let overlaps = left
            .iter()
            .map(|other| match other.class == thing.class {
                true => overlap(thing, other),
                false => 0.0,
            })
            .enumerate();
        let best = overlaps.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let matched = best.filter(|(_, overlap)| *overlap >= OVERLAP_MIN);
        matched.map(|(at, _)| left.swap_remove(at)).is_some()
    });
    found && left.is_empty()
}

/// The part of what two boxes cover together that both cover.
fn overlap(a: &Detection, b: &Detection) -> f32 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    let shared = width.max(0.0) * height.max(0.0);
    let together = a.width * a.height + b.width * b.height - shared;
    if together > 0.0 {
        shared / together
    } else {
        0.0
    }
}

fn same_value(a: &Value, b: &Value) -> bool {
    a.name == b.name && are_close(&a.value, &b.value)
}

fn same_output(a: &Output, b: &Output) -> bool {
    let same_data = match (&a.data, &b.data) {
        (Data::Integers(a), Data::Integers(b)) => a == b,
        (Data::Texts(a), Data::Texts(b)) => a == b,
        (Data::Numbers(a), Data::Numbers(b)) => all(a, b, |a, b| both(*a, *b, are_close)),
        _ => false,
    };
    a.name == b.name && a.shape == b.shape && same_data
}

fn are_close(a: &f64, b: &f64) -> bool {
    (a - b).abs() <= DIFFERENCE_MAX * a.abs().max(b.abs())
}

fn both<T>(a: Option<T>, b: Option<T>, same: impl Fn(&T, &T) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(&a, &b),
        (None, None) => true,
        _ => false,
    }
}

fn all<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

#[cfg(test)]
mod tests;
