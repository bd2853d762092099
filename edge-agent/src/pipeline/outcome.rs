//! What came of one input, and the JSON that tells it.
//!
//! ```text
//! {"pipeline", "id", "timestamp", "model", "version", "latencyMs", "confidence",
//!  "detections" | "classes" | "score", "anomaly" | "values"}      with `decode`
//!  "outputs": {"scores": {"datatype", "shape", "data"}}}          without
//! {"pipeline", "id", "timestamp", "model", "error": {"class", "message"}}
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_vision::{Decoded, Frame};
use millwright_pipeline::When;
use millwright_proto::ids::{ModelName, ModelVersion};
use serde::Serialize;

use super::item::Content;
use super::message::{Echo, Output, outputs};
use crate::worker::InferOutput;

/// What came of one input.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The result as it is sent.
    pub(super) json: Bytes,
    /// What was said; `None` when the input was not answered.
    pub(super) answer: Option<Answer>,
    /// The input, for whoever keeps it.
    pub(super) content: Content,
}

/// What the model said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) model: ModelVersion,
    pub(super) decoded: Option<Arc<Decoded>>,
    pub(super) confidence: Option<f64>,
    /// The picture with its private parts covered, if the input was one.
    pub(super) frame: Option<Frame>,
    /// The same with boxes, as JPEG, if somebody wants it.
    pub(super) drawn: Option<Bytes>,
}

impl Outcome {
    /// Whether a sink for `when` takes it.
    pub(super) fn is(&self, when: When) -> bool {
        let decoded = self
            .answer
            .as_ref()
            .and_then(|answer| answer.decoded.as_deref());
        match when {
            When::Always => true,
            When::Anomaly => decoded.is_some_and(|decoded| decoded.anomaly == Some(true)),
            When::Detection => decoded.is_some_and(|decoded| !decoded.detections.is_empty()),
            When::Failure => self.answer.is_none(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    pipeline: &'a str,
    #[serde(flatten)]
    echo: &'a Echo,
    model: &'a str,
    version: &'a str,
    latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    #[serde(flatten)]
    said: Said<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Decoded(&'a Decoded),
    Raw {
        outputs: std::collections::BTreeMap<&'a str, Output<'a>>,
    },
}

/// The JSON of an answer, with what a shadow said instead.
pub(super) fn with_shadow(json: &[u8], model: &ModelVersion, said: &Decoded) -> Bytes {
    let (name, version) = (&model.model, &model.version);
    let shadow = serde_json::json!({"model": name, "version": version, "said": said});
    let mut whole: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).unwrap_or_default();
    whole.insert("shadow".to_owned(), shadow);
    let bytes = serde_json::to_vec(&whole).expect("texts and numbers are always JSON");
    bytes.into()
}

/// The JSON of an answer.
pub(super) fn answered(
    pipeline: &str,
    echo: &Echo,
    output: &InferOutput,
    decoded: Option<&Decoded>,
    latency: Duration,
) -> Bytes {
    let said = match decoded {
        Some(decoded) => Said::Decoded(decoded),
        None => Said::Raw {
            outputs: outputs(output),
        },
    };
    encode(&Answered {
        pipeline,
        echo,
        model: output.model.model.as_str(),
        version: output.model.version.as_str(),
        latency_ms: (latency.as_secs_f64() * 1e6).round() / 1e3,
        confidence: confidence(output, decoded),
        said,
    })
}

/// How sure the model was, by what its outputs mean, else by its manifest.
pub(super) fn confidence(output: &InferOutput, decoded: Option<&Decoded>) -> Option<f64> {
    let decoded = decoded.and_then(Decoded::confidence);
    decoded
        .or(output.confidence)
        .filter(|number| number.is_finite())
}

/// The class a model gave one input: what it found is counted by the surest detection.
pub(super) fn class(decoded: &Decoded) -> Option<u32> {
    let surest = |a: f32, b: f32| a.total_cmp(&b);
    let detections = decoded.detections.iter();
    let detected = detections.max_by(|a, b| surest(a.score, b.score));
    let classes = decoded.classes.iter();
    let classified = classes.max_by(|a, b| surest(a.score, b.score));
    let anomaly = decoded.anomaly.map(u32::from);
    detected
        .map(|detection| detection.class)
        .or(classified.map(|class| class.class))
        .or(anomaly)
}

#[derive(Serialize)]
struct Failed<'a> {
    pipeline: &'a str,
    #[serde(flatten)]
    echo: &'a Echo,
    model: &'a str,
    error: Problem<'a>,
}

#[derive(Serialize)]
struct Problem<'a> {
    class: &'a str,
    message: &'a str,
}

/// The JSON of an input that was not answered.
pub(super) fn failed(
    pipeline: &str,
    echo: &Echo,
    model: &ModelName,
    class: &str,
    message: &str,
) -> Bytes {
    encode(&Failed {
        pipeline,
        echo,
        model: model.as_str(),
        error: Problem { class, message },
    })
}

fn encode(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message)
        .expect("text keys and numbers always have a JSON form")
        .into()
}

#[cfg(test)]
mod tests {
    use millwright_package::Datatype;

    use super::*;
    use crate::worker::{Tensor, Timing};

    fn output() -> InferOutput {
        InferOutput {
            model: "anomaly@1.0.0".parse().unwrap(),
            tensors: vec![Tensor {
                name: "scores".to_owned(),
                datatype: Datatype::Fp32,
                shape: vec![1],
                data: 0.25_f32.to_le_bytes().to_vec().into(),
            }],
            confidence: None,
            timing: Timing::default(),
        }
    }

    fn text(json: &Bytes) -> &str {
        std::str::from_utf8(json).unwrap()
    }

    #[test]
    fn results_repeat_id_and_timestamp_as_they_were() {
        let message = r#"{"id": "r\u0031", "timestamp": 17.50}"#;
        let echo: Echo = serde_json::from_str(message).unwrap();
        let latency = Duration::from_micros(1500);
        assert_eq!(
            text(&answered("p", &echo, &output(), None, latency)),
            r#"{"pipeline":"p","id":"r\u0031","timestamp":17.50,"model":"anomaly","version":"1.0.0","latencyMs":1.5,"outputs":{"scores":{"datatype":"FP32","shape":[1],"data":[0.25]}}}"#
        );
        let failed = failed("p", &echo, &"anomaly".parse().unwrap(), "message", "why");
        assert_eq!(
            text(&failed),
            r#"{"pipeline":"p","id":"r\u0031","timestamp":17.50,"model":"anomaly","error":{"class":"message","message":"why"}}"#
        );
    }

    #[test]
    fn what_the_outputs_mean_stands_beside_the_model() {
        let decoded = Decoded {
            score: Some(-0.5),
            anomaly: Some(true),
            ..Decoded::default()
        };
        let echo = Echo::at_us(1_500_250);
        let json = answered("p", &echo, &output(), Some(&decoded), Duration::ZERO);
        assert_eq!(
            text(&json),
            r#"{"pipeline":"p","timestamp":1500.25,"model":"anomaly","version":"1.0.0","latencyMs":0.0,"score":-0.5,"anomaly":true}"#
        );
    }
}
