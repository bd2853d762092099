//! What a pipeline will do, in words: what `pipeline check` tells a person who is about to trust it.

use edge_vision::decode::Direction;

use crate::{
    Decode, Done, MqttSource, Payload, Pipeline, Policy, Preprocess, Qos, Sink, Source, When,
};

impl Pipeline {
    /// One sentence per step, in the order in which an input goes through.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut told = source(&self.spec.source);
        told.push(self.pressure());
        told.extend(self.preprocess());
        told.push(format!(
            "The model `{}` answers, in the version that is active on the node; while it has none, the pipeline waits.",
            self.spec.model
        ));
        told.push(decode(self.spec.decode.as_ref()));
        told.extend(self.spec.shadow.as_ref().map(|shadow| {
            let often = match shadow.every_ms {
                0 => "whenever it is free".to_owned(),
                every_ms => format!("at most one every {every_ms} ms"),
            };
            format!(
                "The model `{}` sees some of the inputs too, {often}; what it says goes nowhere, and whether it agrees is counted.",
                shadow.model
            )
        }));
        let shadowed = self.spec.shadow.is_some();
        told.extend(self.spec.sinks.iter().map(|one| sink(one, shadowed)));
        if self.spec.sinks.is_empty() {
            told.push(
                "Results go nowhere but the agent's own page: add `sinks` to use them.".to_owned(),
            );
        }
        if self.spec.selector.is_some() {
            told.push(
                "Its selector counts when it is applied to the cloud; as a file of a node it runs where it is."
                    .to_owned(),
            );
        }
        if !self.spec.mask.is_empty() {
            told.push(
                "Masked regions are covered before a picture is shown, sent or kept; the model sees them."
                    .to_owned(),
            );
        }
        told
    }

    fn pressure(&self) -> String {
        let queue = self.spec.back_pressure.queue;
        match self.policy() {
            Policy::DropOldest => {
                format!(
                    "When inputs come too fast, {queue} wait and the oldest are dropped and counted."
                )
            }
            Policy::Sample => format!(
                "One input every {} ms is taken; the others are dropped and counted.",
                self.spec.back_pressure.every_ms.unwrap_or_default()
            ),
            Policy::Block => {
                format!(
                    "When inputs come too fast, {queue} wait and the source is held back; nothing is dropped."
                )
            }
        }
    }

    fn preprocess(&self) -> Option<String> {
        let fields = self.spec.source.row_fields();
        match &self.spec.preprocess {
            Some(Preprocess::Image(picture)) => {
                let (width, height) = picture.size;
                let fit = format!("{:?}", picture.fit).to_lowercase();
                Some(format!(
                    "Pictures are brought to {width} x {height} ({fit})."
                ))
            }
            Some(Preprocess::Sensors(sensors)) => {
                let names = match sensors.fields.is_empty() {
                    true => fields.join(", "),
                    false => sensors.fields.join(", "),
                };
                let window = sensors.window.map_or_else(
                    || "every row alone".to_owned(),
                    |window| {
                        let step = window.step.unwrap_or(window.size);
                        format!("windows of {} rows, a new one every {step}", window.size)
                    },
                );
                let scale = if sensors.scale.is_some() {
                    ", scaled"
                } else {
                    ""
                };
                Some(format!("The model sees {window}: {names}{scale}."))
            }
            None if fields.is_empty() => None,
            None => Some(format!(
                "The model sees every row alone: {}.",
                fields.join(", ")
            )),
        }
    }
}

fn source(source: &Source) -> Vec<String> {
    match source {
        Source::Mqtt(mqtt) => mqtt_source(mqtt),
        Source::Camera(camera) => vec![match camera.snapshot_every_ms {
            Some(every_ms) => format!(
                "A picture is fetched from {} every {every_ms} ms.",
                camera.url
            ),
            None => format!("Pictures come from the MJPEG stream {}.", camera.url),
        }],
        Source::Video(video) => vec![format!(
            "Pictures come from {} with {} x {}.",
            video.device, video.width, video.height
        )],
        Source::Directory(directory) => {
            let done = match &directory.done {
                Done::Delete => "deleted".to_owned(),
                Done::Move(target) => format!("moved to {target}"),
            };
            vec![format!(
                "Files of {} that have not changed for {} ms are read as {}; answered ones are {done}, others moved to failed.",
                directory.path,
                directory.settle_ms,
                payload(&directory.payload)
            )]
        }
        Source::Push(push) => vec![format!(
            "Inputs are {} sent to POST /pipelines/<name>/push on the agent's own port.",
            payload(&push.payload)
        )],
    }
}

fn mqtt_source(mqtt: &MqttSource) -> Vec<String> {
    let mut told: Vec<String> = mqtt
        .topics
        .iter()
        .map(|topic| {
            let held = payload(mqtt.payload_of(topic));
            format!(
                "Messages of `{}` at {} are {held}.",
                topic.topic, mqtt.broker
            )
        })
        .collect();
    told.push(
        match mqtt.qos {
            Qos::AtLeastOnce => {
                "A message is acknowledged once its result is on the way; until then the broker keeps it."
            }
            Qos::AtMostOnce => "Messages that come while this node is away are lost (qos 0).",
        }
        .to_owned(),
    );
    if let Some(join) = mqtt.join {
        let hold = match join.hold_last_ms {
            0 => "the row is dropped and counted".to_owned(),
            hold_ms => format!(
                "the last one known stands in if it is at most {hold_ms} ms old, else the row is dropped"
            ),
        };
        told.push(format!(
            "Values at most {} ms apart become one row; {} ms after its first value one that is missing is no longer waited for: {hold}.",
            join.tolerance_ms, join.wait_ms
        ));
    }
    told
}

fn payload(payload: &Payload) -> &'static str {
    match payload {
        Payload::Image => "pictures (JPEG or PNG)",
        Payload::Message => "inputs in Millwright's own JSON",
        Payload::Json(_) => "JSON objects with values",
        Payload::Csv(_) => "lines of values",
        Payload::Bytes(_) => "the bytes of a tensor",
    }
}

fn decode(decode: Option<&Decode>) -> String {
    match decode {
        None | Some(Decode::Raw) => "Results are the model's outputs as they are.".to_owned(),
        Some(Decode::Yolov8(boxes)) => {
            format!("Results are boxes with a score of {} or more.", boxes.score)
        }
        Some(Decode::Yolox(boxes)) => {
            format!("Results are boxes with a score of {} or more.", boxes.score)
        }
        Some(Decode::Centerface(faces)) => {
            format!("Results are faces with a score of {} or more.", faces.score)
        }
        Some(Decode::Softmax(softmax)) => {
            format!("Results are the {} likeliest classes.", softmax.top)
        }
        Some(Decode::Anomaly(anomaly)) => {
            let side = match anomaly.direction {
                Direction::Above => "above",
                Direction::Below => "below",
            };
            let output = anomaly.output.as_deref().unwrap_or("its only output");
            format!(
                "An input whose score (`{output}`) is {side} {} is an anomaly.",
                anomaly.threshold
            )
        }
        Some(Decode::Regression(_)) => "Results are numbers with names.".to_owned(),
    }
}

fn sink(sink: &Sink, shadowed: bool) -> String {
    let which = |when: When| match when {
        When::Always => "Every result",
        When::Anomaly => "Every anomaly",
        When::Detection => "Every result with a box",
        When::Failure => "Every failure",
    };
    match sink {
        Sink::Mqtt(mqtt) => {
            let broker = mqtt.broker.as_deref().unwrap_or("the same broker");
            let pictures = match &mqtt.picture_topic {
                Some(topic) => format!(", its picture with boxes to `{topic}`"),
                None => String::new(),
            };
            format!(
                "{} goes to `{}` at {broker}{pictures}.",
                which(mqtt.when),
                mqtt.topic
            )
        }
        Sink::Webhook(webhook) => format!(
            "{} is posted to {}, tried {} times within {} ms each.",
            which(webhook.when),
            webhook.url,
            webhook.retries + 1,
            webhook.timeout_ms
        ),
        Sink::HardExamples(kept) => {
            let below = kept.confidence_below;
            let below = below.map(|below| format!("answered with a confidence below {below}"));
            let drift = kept
                .drift
                .then(|| "that come while the model drifts from its profile".to_owned());
            let disagreement =
                (shadowed && kept.disagreement).then(|| "on which a shadow disagrees".to_owned());
            let which: Vec<String> = [below, drift, disagreement].into_iter().flatten().collect();
            format!(
                "Inputs {} are kept on this node's disk, at most {} MiB and {} a minute; the oldest give way.",
                which.join(", or "),
                kept.quota_mib,
                kept.per_minute
            )
        }
    }
}
