//! What has to hold for a source.

use std::collections::BTreeSet;

use super::{Checked, refuse, within};
use crate::{
    Broker, Camera, CsvRows, Directory, Done, FIELDS_MAX, MqttSource, Payload, Source, TimeOrder,
    Video,
};

/// Longest path, topic, name or address taken from a document.
const TEXT_BYTES_MAX: usize = 1024;

pub(super) fn check(source: &Source) -> Checked {
    match source {
        Source::Mqtt(mqtt) => check_mqtt(mqtt),
        Source::Camera(camera) => check_camera(camera),
        Source::Video(video) => check_video(video),
        Source::Directory(directory) => check_directory(directory),
        Source::Push(push) => check_payload("spec.source.push.payload", &push.payload),
    }
}

fn check_mqtt(mqtt: &MqttSource) -> Checked {
    let field = "spec.source.mqtt";
    check_broker(field, &mqtt.broker())?;
    if let Some(id) = &mqtt.client_id
        && (id.is_empty() || id.len() > 128 || id.starts_with(' '))
    {
        return refuse(
            format!("{field}.clientId"),
            "must have 1 to 128 characters and not begin with a space",
        );
    }
    if mqtt.topics.is_empty() || mqtt.topics.len() > FIELDS_MAX {
        let problem = format!("has {} topics; 1 to {FIELDS_MAX}", mqtt.topics.len());
        return refuse(format!("{field}.topics"), problem);
    }
    let mut seen = BTreeSet::new();
    for (at, topic) in mqtt.topics.iter().enumerate() {
        let field = format!("{field}.topics[{at}]");
        check_topic(&format!("{field}.topic"), &topic.topic, Wildcards::Allowed)?;
        if !seen.insert(&topic.topic) {
            return refuse(field, format!("repeats `{}`", topic.topic));
        }
        check_payload(&format!("{field}.payload"), mqtt.payload_of(topic))?;
    }
    check_rows(mqtt)
}

/// Messages of several topics are either each a whole input, or parts of one that are joined by time.
fn check_rows(mqtt: &MqttSource) -> Checked {
    let field = "spec.source.mqtt.join";
    let rows: Vec<_> = mqtt
        .topics
        .iter()
        .map(|topic| mqtt.payload_of(topic))
        .collect();
    let Some(join) = mqtt.join else {
        let lists: BTreeSet<_> = rows.iter().filter_map(|p| p.row_fields()).collect();
        if lists.len() > 1 {
            return refuse(
                field,
                "is missing: the topics bring different values, so say how far apart in time they may be, for example \
                 `join: {toleranceMs: 50}`",
            );
        }
        return Ok(());
    };
    if rows.iter().any(|payload| payload.row_fields().is_none()) {
        return refuse(
            field,
            "needs rows of values from every topic: write `payload: {json: ..}` or `{csv: ..}`",
        );
    }
    within(
        &format!("{field}.toleranceMs"),
        join.tolerance_ms,
        0..=3_600_000,
    )?;
    within(&format!("{field}.waitMs"), join.wait_ms, 1..=3_600_000)?;
    within(
        &format!("{field}.holdLastMs"),
        join.hold_last_ms,
        0..=86_400_000,
    )?;
    if join.order == TimeOrder::Timestamp && rows.iter().any(|payload| !payload.has_time()) {
        return refuse(
            field,
            "goes by the time in the messages, which not every topic says: add `time:` to its payload, or write \
             `order: arrival`",
        );
    }
    Ok(())
}

/// An address of a broker: `mqtt://host:port` or `mqtts://host:port`.
pub(super) fn check_broker(field: &str, broker: &Broker<'_>) -> Checked {
    let secure = broker.broker.strip_prefix("mqtts://");
    let rest = secure.or_else(|| broker.broker.strip_prefix("mqtt://"));
    let Some(rest) = rest else {
        return refuse(
            format!("{field}.broker"),
            format!(
                "is `{}`; write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS",
                shown(broker.broker)
            ),
        );
    };
    if rest.contains('@') {
        return refuse(
            format!("{field}.broker"),
            "holds a name or password: write them as `username` and `passwordFile`",
        );
    }
    let (host, port) = rest
        .trim_end_matches('/')
        .rsplit_once(':')
        .unwrap_or((rest, "1"));
    let port_fits = port.ends_with(']') || port.parse::<u16>().is_ok();
    if host.is_empty() || !port_fits || rest.trim_end_matches('/').contains('/') {
        return refuse(
            format!("{field}.broker"),
            format!("is `{}`; write mqtt://HOST:PORT", shown(broker.broker)),
        );
    }
    if broker.tls.is_some() && secure.is_none() {
        return refuse(
            format!("{field}.tls"),
            "goes with a broker `mqtts://..`: write that, or leave it out",
        );
    }
    check_login(field, broker.username, broker.password_file)
}

fn check_login(field: &str, username: Option<&str>, password_file: Option<&str>) -> Checked {
    match (username, password_file) {
        (None, Some(_)) => refuse(
            format!("{field}.username"),
            "is missing: a password needs it",
        ),
        (Some(_), _) | (None, None) => Ok(()),
    }
}

/// Whether a topic may be a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wildcards {
    Allowed,
    Refused,
}

pub(super) fn check_topic(field: &str, topic: &str, wildcards: Wildcards) -> Checked {
    if topic.is_empty() || topic.len() > TEXT_BYTES_MAX || topic.contains('\0') {
        return refuse(field, format!("must have 1 to {TEXT_BYTES_MAX} characters"));
    }
    if wildcards == Wildcards::Refused {
        return match topic.contains(['+', '#']) {
            true => refuse(
                field,
                format!("is `{topic}`; results go to one topic, without + and #"),
            ),
            false => Ok(()),
        };
    }
    let levels: Vec<&str> = topic.split('/').collect();
    let misplaced = levels.iter().enumerate().any(|(at, level)| {
        (level.contains('+') && *level != "+")
            || (level.contains('#') && (*level != "#" || at + 1 != levels.len()))
    });
    if misplaced {
        return refuse(
            field,
            format!("is `{topic}`; + stands for one whole level, # for all the rest at the end"),
        );
    }
    Ok(())
}

fn check_payload(field: &str, payload: &Payload) -> Checked {
    match payload {
        Payload::Image | Payload::Message | Payload::Bytes(_) => Ok(()),
        Payload::Json(row) => {
            let count = row.fields.0.len();
            if count == 0 || count > FIELDS_MAX {
                let problem = format!("has {count} fields; 1 to {FIELDS_MAX}");
                return refuse(format!("{field}.json.fields"), problem);
            }
            let mut names = BTreeSet::new();
            for value in &row.fields.0 {
                if !names.insert(&value.name) {
                    let problem = format!("names `{}` twice", value.name);
                    return refuse(format!("{field}.json.fields"), problem);
                }
                if value.path.is_empty() || value.path.split('.').any(str::is_empty) {
                    return refuse(
                        format!("{field}.json.fields.{}", value.name),
                        format!(
                            "is the path `{}`; write keys and indices joined by dots, for example data.temp or axes.0.speed",
                            value.path
                        ),
                    );
                }
            }
            Ok(())
        }
        Payload::Csv(rows) => check_csv(&format!("{field}.csv"), rows),
    }
}

fn check_csv(field: &str, rows: &CsvRows) -> Checked {
    let count = rows.values().count();
    if count == 0 || rows.columns.len() > FIELDS_MAX {
        let problem =
            format!("has {count} columns with values; 1 to {FIELDS_MAX} (`-` skips a column)");
        return refuse(format!("{field}.columns"), problem);
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = rows.values().find(|name| !names.insert(*name)) {
        return refuse(format!("{field}.columns"), format!("names `{twice}` twice"));
    }
    if let Some(time) = &rows.time
        && !rows.columns.contains(time)
    {
        let problem = format!("names `{time}`, which is not among the columns");
        return refuse(format!("{field}.time"), problem);
    }
    if !rows.separator.is_ascii() || rows.separator == '\n' || rows.separator == '"' {
        return refuse(
            format!("{field}.separator"),
            "must be one plain character, for example `,` or `;` or a tab",
        );
    }
    Ok(())
}

fn check_camera(camera: &Camera) -> Checked {
    let field = "spec.source.camera";
    if camera.url.starts_with("rtsp://") || camera.url.starts_with("rtsps://") {
        return refuse(
            format!("{field}.url"),
            "is an RTSP stream, which is H.264 or H.265 video and cannot be read: switch the camera's second stream \
             (substream) to MJPEG and use its http:// address, or use its snapshot address with `snapshotEveryMs`",
        );
    }
    check_url(&format!("{field}.url"), &camera.url)?;
    check_login(
        field,
        camera.username.as_deref(),
        camera.password_file.as_deref(),
    )?;
    within(
        &format!("{field}.silenceMsMax"),
        camera.silence_ms_max,
        100..=3_600_000,
    )?;
    match camera.snapshot_every_ms {
        Some(every_ms) => within(
            &format!("{field}.snapshotEveryMs"),
            every_ms,
            10..=86_400_000,
        ),
        None => Ok(()),
    }
}

/// An `http://` or `https://` address without a name or password.
pub(super) fn check_url(field: &str, url: &str) -> Checked {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?']).next());
    match host {
        Some(host) if host.contains('@') => refuse(
            field,
            "holds a name or password: write them as `username` and `passwordFile`, where others cannot read them",
        ),
        Some(host) if !host.is_empty() && url.len() <= TEXT_BYTES_MAX => Ok(()),
        Some(_) | None => refuse(
            field,
            format!(
                "is `{}`; write http://HOST/PATH or https://HOST/PATH",
                shown(url)
            ),
        ),
    }
}

fn check_video(video: &Video) -> Checked {
    let field = "spec.source.video";
    if !video.device.starts_with("/dev/") {
        let problem = format!(
            "is `{}`; write for example /dev/video0",
            shown(&video.device)
        );
        return refuse(format!("{field}.device"), problem);
    }
    within(&format!("{field}.width"), video.width, 16..=8192)?;
    within(&format!("{field}.height"), video.height, 16..=8192)
}

fn check_directory(directory: &Directory) -> Checked {
    let field = "spec.source.directory";
    if !directory.path.starts_with('/') {
        let problem = format!(
            "is `{}`; write the whole path, beginning with /",
            shown(&directory.path)
        );
        return refuse(format!("{field}.path"), problem);
    }
    if let Done::Move(target) = &directory.done
        && (target.is_empty() || target.split('/').any(|part| part == "..") || target == ".")
    {
        return refuse(
            format!("{field}.done.move"),
            "must name another directory, for example `done`",
        );
    }
    if let Some(ending) = directory.extensions.iter().find(|e| e.starts_with('.')) {
        return refuse(
            format!("{field}.extensions"),
            format!("names `{ending}`; leave the dot out"),
        );
    }
    within(
        &format!("{field}.settleMs"),
        directory.settle_ms,
        1..=3_600_000,
    )?;
    check_payload(&format!("{field}.payload"), &directory.payload)
}

/// Hostile text is cut; what follows an `@` may be after a password.
fn shown(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}
