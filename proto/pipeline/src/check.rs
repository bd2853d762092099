//! What has to hold before a pipeline is run.

mod sinks;
mod source;

use std::collections::BTreeSet;

use crate::{
    Pipeline, PipelineError, Policy, Preprocess, QUEUE_MAX, REGIONS_MAX, Scale, Sensors, Source,
    WINDOW_ROWS_MAX,
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
            self.shadow(),
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
            Some(Preprocess::Image(picture)) => picture.check().or_else(|error| {
                let (field, problem) = ("spec.preprocess.image", format!("is not right: {error}"));
                refuse(field, problem)
            }),
            Some(Preprocess::Sensors(sensors)) => check_sensors(sensors, source),
            None => Ok(()),
        }
    }

    fn decode(&self) -> Checked {
        let Some(decode) = &self.spec.decode else {
            return Ok(());
        };
        decode
            .check()
            .or_else(|error| refuse("spec.decode", format!("is not right: {error}")))
    }

    fn shadow(&self) -> Checked {
        let Some(shadow) = &self.spec.shadow else {
            return Ok(());
        };
        if shadow.model == self.spec.model {
            return refuse(
                "spec.shadow.model",
                "is the model that answers: write the name of another one",
            );
        }
        if self.spec.decode.is_none() {
            return refuse(
                "spec.decode",
                "is missing: what two models say is compared after decoding; `decode: raw` compares the numbers",
            );
        }
        within("spec.shadow.everyMs", shadow.every_ms, 0..=3_600_000)
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
            if !region.is_valid() {
                return refuse(
                    format!("spec.mask[{at}]"),
                    "is no part of a picture: x, y, width and height are shares of its sides, 0 to 1",
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
