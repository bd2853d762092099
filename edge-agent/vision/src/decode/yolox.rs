//! YOLOX: for every cell of three grids a box relative to the cell, how likely anything is there, and a score per class.

use serde::{Deserialize, Serialize};

use super::candidates::{Candidate, detection, suppress};
use super::{DecodeError, Labels, check_max, check_part, outputs};
use crate::decoded::Decoded;
use crate::preprocess::placement::Placement;
use crate::tensor::NamedTensor;

/// Numbers of a box and its objectness, before its classes.
const BOX: usize = 5;

/// Pixels of a cell in a model with four grids; most have three, of 8, 16 and 32.
const STRIDE_MAX: u32 = 256;

/// Most grids.
const STRIDES_MAX: usize = 8;

/// Settings of the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Yolox {
    /// The output, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Names of the classes: a list, or `coco`. Default: numbers.
    pub classes: Labels,
    /// Least score (objectness times class) of a detection. Default: 0.3.
    pub score: f32,
    /// Two boxes of one class that overlap by more than this part are one. Default: 0.45.
    pub iou: f32,
    /// Most detections, the surest ones. Default: 100.
    pub max: usize,
    /// Pixels of a cell of every grid. Default: [8, 16, 32].
    pub strides: Vec<u32>,
    /// What the boxes are relative to. Default: grid, as the official export.
    pub boxes: Boxes,
}

/// What the boxes of a model are relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boxes {
    /// Their cells: the offset from its corner, and the logarithm of the size.
    #[default]
    Grid,
    /// The model's input: the export has the last step in it (`--decode_in_inference`).
    Pixels,
}

impl Default for Yolox {
    fn default() -> Self {
        Self {
            output: None,
            classes: Labels::default(),
            score: 0.3,
            iou: 0.45,
            max: 100,
            strides: vec![8, 16, 32],
            boxes: Boxes::default(),
        }
    }
}

impl Yolox {
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        let is_stride = |stride: &u32| (1..=STRIDE_MAX).contains(stride);
        if self.strides.is_empty()
            || self.strides.len() > STRIDES_MAX
            || !self.strides.iter().all(is_stride)
        {
            return Err(DecodeError::Setting {
                field: "strides",
                found: format!("{:?}", self.strides),
                expected: "the pixels of a cell of each grid, for example [8, 16, 32]",
            });
        }
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
        let wrong = |expected: &str| outputs::shape(output, "yolox", expected);
        let (anchors, channels) =
            outputs::rows_and_columns(output).ok_or_else(|| wrong("[1, anchors, 5 + classes]"))?;
        if channels <= BOX
            || self
                .classes
                .count()
                .is_some_and(|count| count + BOX != channels)
        {
            let classes = self.classes.count().map(|count| count.to_string());
            let classes = classes.as_deref().unwrap_or("classes");
            return Err(wrong(&format!("[1, anchors, 5 + {classes}]")));
        }
        let numbers = outputs::floats(output)?;
        let cells = self
            .cells(placement, anchors)
            .map_err(|problem| match problem {
                CellsError::NoPlacement => DecodeError::NoPlacement("yolox"),
                CellsError::Count(count) => wrong(&format!(
                    "[1, {count}, 5 + classes] for this size of the input and strides {:?}",
                    self.strides
                )),
            })?;
        let candidates = numbers
            .chunks_exact(channels)
            .zip(cells)
            .enumerate()
            .filter_map(|(anchor, (row, cell))| self.candidate(anchor, row, cell))
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

    fn candidate(&self, anchor: usize, row: &[f32], cell: Cell) -> Option<Candidate> {
        let (place, scores) = row.split_at(BOX);
        let mut best = (f32::NEG_INFINITY, 0);
        for (class, &score) in scores.iter().enumerate() {
            if score > best.0 {
                best = (score, class as u32);
            }
        }
        let score = best.0 * place[4];
        if score.is_nan() || score < self.score {
            return None;
        }
        let (middle, size) = match self.boxes {
            Boxes::Pixels => ((place[0], place[1]), (place[2], place[3])),
            Boxes::Grid => (
                (
                    (place[0] + cell.column) * cell.stride,
                    (place[1] + cell.row) * cell.stride,
                ),
                (place[2].exp() * cell.stride, place[3].exp() * cell.stride),
            ),
        };
        Some(Candidate::around(middle, size, (score, best.1, anchor)))
    }

    /// The cell of every anchor, in the model's order.
    fn cells(
        &self,
        placement: Option<&Placement>,
        anchors: usize,
    ) -> Result<impl Iterator<Item = Cell>, CellsError> {
        let grids: Vec<(u32, u32, u32)> = match (self.boxes, placement) {
            // Cells do not matter: as many as there are anchors.
            (Boxes::Pixels, _) => vec![(1, u32::try_from(anchors).unwrap_or(u32::MAX), 1)],
            (Boxes::Grid, None) => return Err(CellsError::NoPlacement),
            (Boxes::Grid, Some(placement)) => {
                let (width, height) = placement.model_size();
                let grid = |&stride: &u32| {
                    let stride = stride.max(1);
                    (stride, width / stride, height / stride)
                };
                self.strides.iter().map(grid).collect()
            }
        };
        let count: usize = grids
            .iter()
            .map(|&(_, columns, rows)| columns as usize * rows as usize)
            .sum();
        if count != anchors {
            return Err(CellsError::Count(count));
        }
        Ok(grids.into_iter().flat_map(|(stride, columns, rows)| {
            (0..rows).flat_map(move |row| {
                (0..columns).map(move |column| Cell {
                    stride: stride as f32,
                    column: column as f32,
                    row: row as f32,
                })
            })
        }))
    }
}

#[derive(Clone, Copy)]
struct Cell {
    stride: f32,
    column: f32,
    row: f32,
}

enum CellsError {
    NoPlacement,
    /// Anchors there should be.
    Count(usize),
}
