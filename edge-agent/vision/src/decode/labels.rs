//! Names of classes: a list, or the name of a well-known one.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names of a model's classes in its order. Empty: classes are called by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Labels(Vec<String>);

/// A list that does not exist.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no list of classes called `{0}`: write the names as a list, or `coco`")]
pub struct LabelsError(String);

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Document {
    Known(String),
    List(Vec<String>),
}

impl Labels {
    /// These names.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// The 80 classes of COCO, in the order of YOLO.
    #[must_use]
    pub fn coco() -> Self {
        Self(COCO.iter().map(|&name| name.to_owned()).collect())
    }

    /// How many there are; `None` when classes have no names.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        (!self.0.is_empty()).then_some(self.0.len())
    }

    /// The name of a class.
    #[must_use]
    pub fn name(&self, class: u32) -> String {
        match self.0.get(class as usize) {
            Some(name) => name.clone(),
            None => format!("class {class}"),
        }
    }
}

impl TryFrom<Document> for Labels {
    type Error = LabelsError;

    fn try_from(document: Document) -> Result<Self, LabelsError> {
        match document {
            Document::List(names) => Ok(Self(names)),
            Document::Known(name) if name == "coco" => Ok(Self::coco()),
            Document::Known(name) => Err(LabelsError(name)),
        }
    }
}

impl From<Labels> for Document {
    fn from(labels: Labels) -> Self {
        if labels == Labels::coco() {
            Self::Known("coco".to_owned())
        } else {
            Self::List(labels.0)
        }
    }
}

/// Lin et al. 2014, the classes that have boxes.
#[rustfmt::skip]
const COCO: [&str; 80] = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
];
