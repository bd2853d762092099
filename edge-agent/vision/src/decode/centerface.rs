//! CenterFace (Xu et al. 2019): a heatmap of the middles of faces, and beside it their size, their place within the
//! cell and five landmarks (eyes, nose, corners of the mouth).

use serde::{Deserialize, Serialize};

use super::candidates::{Candidate, detection, suppress};
use super::{DecodeError, Labels, check_max, check_part, outputs};
use crate::decoded::Decoded;
use crate::preprocess::placement::Placement;
use crate::tensor::NamedTensor;

/// Pixels of a cell.
const STRIDE: f32 = 4.0;

/// Landmarks of a face.
const LANDMARKS: usize = 5;

/// Settings of the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Centerface {
    /// Names of heatmap, scale, offset and landmarks. Default: those of the published model.
    pub outputs: [String; 4],
    /// What a detection is called. Default: face.
    pub label: String,
    /// Least score of a detection. Default: 0.5.
    pub score: f32,
    /// Two boxes that overlap by more than this part are one. Default: 0.3.
    pub iou: f32,
    /// Most detections, the surest ones. Default: 100.
    pub max: usize,
}

impl Default for Centerface {
    fn default() -> Self {
        Self {
            outputs: ["537", "538", "539", "540"].map(str::to_owned),
            label: "face".to_owned(),
            score: 0.5,
            iou: 0.3,
            max: 100,
        }
    }
}

impl Centerface {
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
        let [heatmap, scale, offset, landmarks] = &self.outputs;
        let heatmap_output = outputs::find(outputs, Some(heatmap))?;
        let (rows, columns) = match *heatmap_output.shape {
            [1, 1, rows, columns] => (rows, columns),
            _ => {
                return Err(outputs::shape(
                    heatmap_output,
                    "centerface",
                    "[1, 1, rows, columns]",
                ));
            }
        };
        let planes = |name: &str, count: usize| {
            let output = outputs::find(outputs, Some(name))?;
            if output.shape != [1, count, rows, columns] {
                let expected = format!("[1, {count}, {rows}, {columns}], as `{heatmap}` has");
                return Err(outputs::shape(output, "centerface", &expected));
            }
            outputs::floats(output)
        };
        let heatmap = outputs::floats(heatmap_output)?;
        let scale = planes(scale, 2)?;
        let offset = planes(offset, 2)?;
        let landmarks = planes(landmarks, 2 * LANDMARKS)?;
        let cells = heatmap.len();
        let candidates = heatmap
            .iter()
            .enumerate()
            .filter(|(_, score)| **score >= self.score)
            .map(|(cell, &score)| {
                let (row, column) = ((cell / columns) as f32, (cell % columns) as f32);
                let height = scale[cell].exp() * STRIDE;
                let width = scale[cells + cell].exp() * STRIDE;
                let y = (row + offset[cell] + 0.5) * STRIDE;
                let x = (column + offset[cells + cell] + 0.5) * STRIDE;
                Candidate::around((x, y), (width, height), (score, 0, cell))
            })
            .collect();
        let labels = Labels::new(vec![self.label.clone()]);
        let detections = suppress(candidates, self.iou, self.max)
            .iter()
            .filter_map(|candidate| {
                let mut detection = detection(candidate, &labels, placement)?;
                detection.landmarks = points(candidate, &landmarks, cells, placement);
                Some(detection)
            })
            .collect();
        Ok(Decoded {
            detections,
            ..Decoded::default()
        })
    }
}

/// The landmarks of a face, relative to its box: row before column. None when one is not finite.
fn points(
    candidate: &Candidate,
    landmarks: &[f32],
    cells: usize,
    placement: Option<&Placement>,
) -> Vec<[f32; 2]> {
    let cell = candidate.anchor as usize;
    let (width, height) = (
        candidate.right - candidate.left,
        candidate.bottom - candidate.top,
    );
    let points: Vec<[f32; 2]> = (0..LANDMARKS)
        .map(|index| {
            let down = landmarks[2 * index * cells + cell];
            let across = landmarks[(2 * index + 1) * cells + cell];
            let point = (
                candidate.left + across * width,
                candidate.top + down * height,
            );
            let (x, y) = placement.map_or(point, |placement| placement.to_frame(point));
            [x, y]
        })
        .collect();
    if points.iter().flatten().all(|number| number.is_finite()) {
        points
    } else {
        Vec::new()
    }
}
