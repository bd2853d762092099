//! YOLOv8, and its successors without built-in suppression (YOLO11): middle, size and a score per class for every
//! anchor, in the model's pixels.

use serde::{Deserialize, Serialize};

use super::candidates::{Candidate, detection, suppress};
use super::{DecodeError, Labels, check_max, check_part, outputs};
use crate::decoded::Decoded;
use crate::preprocess::placement::Placement;
use crate::tensor::NamedTensor;

/// Numbers of a box before its classes.
const BOX: usize = 4;

/// Settings of the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Yolov8 {
    /// The output, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Names of the classes: a list, or `coco`. Default: numbers.
    pub classes: Labels,
    /// Least score of a detection. Default: 0.25.
    pub score: f32,
    /// Two boxes of one class that overlap by more than this part are one. Default: 0.45.
    pub iou: f32,
    /// Most detections, the surest ones. Default: 100.
    pub max: usize,
}

impl Default for Yolov8 {
    fn default() -> Self {
        Self {
            output: None,
            classes: Labels::default(),
            score: 0.25,
            iou: 0.45,
            max: 100,
        }
    }
}

impl Yolov8 {
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        check_part("score", self.score)?;
        check_part("iou", self.iou)?;
        check_max(self.max)
    }

    pub(super) fn apply(
        &self,
        outputs: &[NamedTensor<'_>],
        placement: Option<&Placement>,
    ) -> Result<Decoded, DecodeError> {
        let output = outputs::find(outputs, self.output.as_deref())?;
        let grid = self.grid(output)?;
        let numbers = outputs::floats(output)?;
        let best = best_classes(&numbers, &grid);
        let candidates = best
            .iter()
            .enumerate()
            .filter(|(_, (score, _))| *score >= self.score)
            .map(|(anchor, &(score, class))| {
                let number = |channel| numbers[grid.at(channel, anchor)];
                Candidate::around(
                    (number(0), number(1)),
                    (number(2), number(3)),
                    (score, class, anchor),
                )
            })
            .collect();
        let detections = suppress(candidates, self.iou, self.max)
            .iter()
            .filter_map(|candidate| detection(candidate, &self.classes, placement))
            .collect();
        Ok(Decoded {
            detections,
            ..Decoded::default()
        })
    }

    /// How the output is laid out. Some exports have rows and columns exchanged.
    fn grid(&self, output: &NamedTensor<'_>) -> Result<Grid, DecodeError> {
        let expected = match self.classes.count() {
            Some(classes) => format!(
                "[1, {}, anchors]: 4 numbers of a box and {classes} classes",
                BOX + classes
            ),
            None => "[1, 4 + classes, anchors]".to_owned(),
        };
        let wrong = || outputs::shape(output, "yolov8", &expected);
        let (rows, columns) = outputs::rows_and_columns(output).ok_or_else(wrong)?;
        let is_by_channel = match self.classes.count() {
            Some(classes) if rows == BOX + classes => true,
            Some(classes) if columns == BOX + classes => false,
            Some(_) => return Err(wrong()),
            // There are thousands of anchors, and seldom as many classes.
            None => columns <= BOX || (BOX < rows && rows <= columns),
        };
        let (channels, anchors) = if is_by_channel {
            (rows, columns)
        } else {
            (columns, rows)
        };
        if channels <= BOX {
            return Err(wrong());
        }
        Ok(Grid {
            channels,
            anchors,
            is_by_channel,
        })
    }
}

/// Where which number lies.
struct Grid {
    channels: usize,
    anchors: usize,
    is_by_channel: bool,
}

impl Grid {
    fn at(&self, channel: usize, anchor: usize) -> usize {
        if self.is_by_channel {
            channel * self.anchors + anchor
        } else {
            anchor * self.channels + channel
        }
    }
}

/// Score and number of the likeliest class of every anchor. NaN is never the likeliest.
fn best_classes(numbers: &[f32], grid: &Grid) -> Vec<(f32, u32)> {
    let mut best = vec![(f32::NEG_INFINITY, 0); grid.anchors];
    let mut offer = |anchor: usize, class: usize, score: f32| {
        let best: &mut (f32, u32) = &mut best[anchor];
        if score > best.0 {
            *best = (score, class as u32);
        }
    };
    // In the order of memory either way.
    if grid.is_by_channel {
        for (class, scores) in numbers[BOX * grid.anchors..]
            .chunks_exact(grid.anchors.max(1))
            .enumerate()
        {
            for (anchor, &score) in scores.iter().enumerate() {
                offer(anchor, class, score);
            }
        }
    } else {
        for (anchor, row) in numbers.chunks_exact(grid.channels).enumerate() {
            for (class, &score) in row[BOX..].iter().enumerate() {
                offer(anchor, class, score);
            }
        }
    }
    best
}
