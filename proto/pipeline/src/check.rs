//! What has to hold before a pipeline is run.

mod sinks;
mod source;

use std::collections::BTreeSet;

use crate::{
    Decode, Detector, Pipeline, PipelineError, Policy, Preprocess, QUEUE_MAX, REGIONS_MAX, Scale,
    Sensors, Source, WINDOW_ROWS_MAX,
};

/// What is wrong with a value, and where.
#[derive(Debug)]
struct Fault {
    field: String,
    problem: String,
}

type Checked = Result<(), Fault>;

fn refuse(field: impl Into<String>, problem: impl Into<String>) -> Checked {
    Err(Fault {
        field: field.into(),
        problem: problem.into(),
    })
}

/// Refuses `value` unless it is within `bounds`.
fn within<T>(field: &str, value: T, bounds: std::ops::RangeInclusive<T>) -> Checked
where
    T: PartialOrd + std::fmt::Display,
{
    if bounds.contains(&value) {
        return Ok(());
    }
    let (low, high) = (bounds.start(), bounds.end());
    refuse(field, format!("is {value}; it must be {low} to {high}"))
}

impl Pipeline {
    pub(crate) fn check(&self, origin: &str) -> Result<(), PipelineError> {
        let checks = [
            source::check(&self.spec.source),
            self.back_pressure(),
            self.input(),
            self.decode(),
            sinks::check(&self.spec),
            self.mask(),
        ];
        let fault = checks.into_iter().find_map(Result::err);
        fault.map_or(Ok(()), |Fault { field, problem }| {
            Err(PipelineError::Field {
                origin: origin.to_owned(),
                field,
                problem,
            })
        })
    }

    fn back_pressure(&self) -> Checked {
        let set = &self.spec.back_pressure;
        within("spec.backPressure.queue", set.queue, 1..=QUEUE_MAX)?;
        let field = "spec.backPressure.everyMs";
        match (self.policy(), set.every_ms) {
            (Policy::Sample, None) => refuse(
                field,
                "is missing: write how often an input is taken, for example `everyMs: 500` for two a second",
            ),
            (Policy::Sample, Some(every_ms)) => within(field, every_ms, 1..=3_600_000),
            (Policy::DropOldest | Policy::Block, Some(_)) => refuse(
                field,
                "goes with `policy: sample` only: write that, or leave it out",
            ),
            (Policy::DropOldest | Policy::Block, None) => Ok(()),
        }
    }

    fn input(&self) -> Checked {
        let source = &self.spec.source;
        let images = source
            .payloads()
            .iter()
            .all(|payload| matches!(payload, crate::Payload::Image));
        let rows = !source.row_fields().is_empty();
        match &self.spec.preprocess {
            Some(Preprocess::Image(_)) if !images => refuse(
                "spec.preprocess.image",
                "is for pictures, which this source does not bring: write `payload: image` there, or use `sensors`",
            ),
            Some(Preprocess::Sensors(_)) if !rows => refuse(
                "spec.preprocess.sensors",
                "is for rows of values, which this source does not bring: write `payload: {json: ..}` or `{csv: ..}` there",
            ),
            Some(Preprocess::Image(picture)) => {
                let field = "spec.preprocess.image";
                if let Some((width, height)) = picture.size {
                    within(&format!("{field}.size"), width, 1..=8192)?;
                    within(&format!("{field}.size"), height, 1..=8192)?;
                }
                let colours = if picture.colour == crate::Colour::Grey {
                    1
                } else {
                    3
                };
                for (name, list) in [("mean", &picture.mean), ("std", &picture.std)] {
                    if !list.is_empty() && list.len() != colours {
                        let problem =
                            format!("has {} numbers; one per colour is {colours}", list.len());
                        return refuse(format!("{field}.{name}"), problem);
                    }
                }
                if picture
                    .std
                    .iter()
                    .any(|std| *std <= 0.0 || !std.is_finite())
                {
                    return refuse(format!("{field}.std"), "must have numbers above 0 only");
                }
                if !picture.scale.is_finite() || picture.scale == 0.0 {
                    return refuse(
                        format!("{field}.scale"),
                        "must be a number other than 0, for example 0.00392157 for values from 0 to 1",
                    );
                }
                Ok(())
            }
            Some(Preprocess::Sensors(sensors)) => check_sensors(sensors, source),
            None => Ok(()),
        }
    }

    fn decode(&self) -> Checked {
        let share = |field: String, value: f32| within(&field, value, 0.0..=1.0);
        match &self.spec.decode {
            Decode::Yolov8(Detector {
                score, iou, max, ..
            })
            | Decode::Yolox(Detector {
                score, iou, max, ..
            }) => {
                share("spec.decode (score)".to_owned(), *score)?;
                share("spec.decode (iou)".to_owned(), *iou)?;
                within("spec.decode (max)", *max, 1..=10_000)
            }
            Decode::Centerface(faces) => {
                share("spec.decode.centerface.score".to_owned(), faces.score)?;
                share("spec.decode.centerface.iou".to_owned(), faces.iou)?;
                within("spec.decode.centerface.max", faces.max, 1..=10_000)
            }
            Decode::Softmax(softmax) => within("spec.decode.softmax.top", softmax.top, 1..=1000),
            Decode::Anomaly(anomaly) if !anomaly.threshold.is_finite() => {
                refuse("spec.decode.anomaly.threshold", "must be a finite number")
            }
            Decode::Anomaly(_) | Decode::Regression(_) | Decode::Raw => Ok(()),
        }
    }

    fn mask(&self) -> Checked {
        if self.spec.mask.len() > REGIONS_MAX {
            let problem = format!(
                "has {} regions; at most {REGIONS_MAX}",
                self.spec.mask.len()
            );
            return refuse("spec.mask", problem);
        }
        for (at, region) in self.spec.mask.iter().enumerate() {
            let inside = |from: f32, length: f32| {
                (0.0..1.0).contains(&from) && length > 0.0 && from + length <= 1.001
            };
            if !inside(region.x, region.width) || !inside(region.y, region.height) {
                return refuse(
                    format!("spec.mask[{at}]"),
                    "reaches out of the picture: x, y, width and height are shares of its sides, 0 to 1",
                );
            }
        }
        Ok(())
    }
}

fn check_sensors(sensors: &Sensors, source: &Source) -> Checked {
    let field = "spec.preprocess.sensors";
    let known = source.row_fields();
    let mut seen = BTreeSet::new();
    for name in &sensors.fields {
        if !known.contains(&name.as_str()) {
            let problem = format!("names `{name}`; the source brings {}", known.join(", "));
            return refuse(format!("{field}.fields"), problem);
        }
        if !seen.insert(name) {
            return refuse(format!("{field}.fields"), format!("names `{name}` twice"));
        }
    }
    let count = if sensors.fields.is_empty() {
        known.len()
    } else {
        sensors.fields.len()
    };
    if let Some(window) = &sensors.window {
        within(
            &format!("{field}.window.size"),
            window.size,
            1..=WINDOW_ROWS_MAX,
        )?;
        if let Some(step) = window.step {
            within(&format!("{field}.window.step"), step, 1..=WINDOW_ROWS_MAX)?;
        }
    }
    let lists = match &sensors.scale {
        None | Some(Scale::Profile) => return Ok(()),
        Some(Scale::Standard(standard)) => [
            ("standard.mean", &standard.mean),
            ("standard.std", &standard.std),
        ],
        Some(Scale::Range(range)) => [("range.min", &range.min), ("range.max", &range.max)],
    };
    for (name, list) in lists {
        if list.len() != count {
            let problem = format!("has {} numbers; one per field is {count}", list.len());
            return refuse(format!("{field}.scale.{name}"), problem);
        }
        if list.iter().any(|number| !number.is_finite()) {
            return refuse(
                format!("{field}.scale.{name}"),
                "must have finite numbers only",
            );
        }
    }
    match &sensors.scale {
        Some(Scale::Standard(standard)) if standard.std.iter().any(|std| *std <= 0.0) => refuse(
            format!("{field}.scale.standard.std"),
            "must have numbers above 0 only: a field that never changes tells the model nothing",
        ),
        Some(Scale::Range(range)) if range.min.iter().zip(&range.max).any(|(a, b)| a >= b) => {
            refuse(
                format!("{field}.scale.range"),
                "must have every min below its max",
            )
        }
        _ => Ok(()),
    }
}
