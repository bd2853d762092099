//! What has to hold for sinks.

use super::source::{Wildcards, check_broker, check_topic, check_url};
use super::{Checked, refuse, within};
use crate::{HardExamples, MqttSink, Payload, SINKS_MAX, Sink, Source, Spec, Webhook};

pub(super) fn check(spec: &Spec) -> Checked {
    if spec.sinks.len() > SINKS_MAX {
        let problem = format!("has {} sinks; at most {SINKS_MAX}", spec.sinks.len());
        return refuse("spec.sinks", problem);
    }
    for (at, sink) in spec.sinks.iter().enumerate() {
        let field = format!("spec.sinks[{at}]");
        match sink {
            Sink::Mqtt(mqtt) => check_mqtt(&format!("{field}.mqtt"), mqtt, spec)?,
            Sink::Webhook(webhook) => check_webhook(&format!("{field}.webhook"), webhook)?,
            Sink::HardExamples(kept) => {
                check_kept(&format!("{field}.hardExamples"), kept, spec)?;
            }
        }
    }
    let kept = |sink: &&Sink| matches!(sink, Sink::HardExamples(_));
    if spec.sinks.iter().filter(kept).count() > 1 {
        return refuse(
            "spec.sinks",
            "has more than one `hardExamples`: a pipeline keeps them in one place",
        );
    }
    Ok(())
}

fn check_mqtt(field: &str, sink: &MqttSink, spec: &Spec) -> Checked {
    check_topic(&format!("{field}.topic"), &sink.topic, Wildcards::Refused)?;
    if let Some(topic) = &sink.picture_topic {
        check_topic(&format!("{field}.pictureTopic"), topic, Wildcards::Refused)?;
        let pictures = spec
            .source
            .payloads()
            .iter()
            .any(|p| matches!(p, Payload::Image));
        if !pictures {
            return refuse(
                format!("{field}.pictureTopic"),
                "needs a source of pictures, which this one is not: leave it out",
            );
        }
    }
    match (sink.own_broker(), &spec.source) {
        (Some(broker), _) => check_broker(field, &broker),
        (None, Source::Mqtt(_)) if sink.username.is_none() && sink.tls.is_none() => Ok(()),
        (None, Source::Mqtt(_)) => refuse(
            format!("{field}.broker"),
            "is missing: `username` and `tls` are those of the source unless another broker is named",
        ),
        (None, _) => refuse(
            format!("{field}.broker"),
            "is missing: the source is no MQTT broker, so say where results go, for example mqtt://127.0.0.1:1883",
        ),
    }
}

fn check_webhook(field: &str, webhook: &Webhook) -> Checked {
    check_url(&format!("{field}.url"), &webhook.url)?;
    within(
        &format!("{field}.timeoutMs"),
        webhook.timeout_ms,
        100..=60_000,
    )?;
    within(&format!("{field}.retries"), webhook.retries, 0..=10)
}

fn check_kept(field: &str, kept: &HardExamples, spec: &Spec) -> Checked {
    if let Some(below) = kept.confidence_below
        && !below.is_finite()
    {
        return refuse(
            format!("{field}.confidenceBelow"),
            "must be a finite number",
        );
    }
    let disagreement = kept.disagreement && spec.shadow.is_some();
    if kept.confidence_below.is_none() && !kept.drift && !disagreement {
        return refuse(
            field,
            "keeps nothing: give `confidenceBelow`, leave `drift` out, or give the pipeline a `shadow` that may \
             disagree",
        );
    }
    within(&format!("{field}.quotaMib"), kept.quota_mib, 1..=65_536)?;
    within(&format!("{field}.perMinute"), kept.per_minute, 1..=600)
}
