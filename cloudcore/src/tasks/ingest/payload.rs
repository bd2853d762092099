//! What records carry, from bytes to rows, and the events told of it. Peer input: it is cut to bounds,
//! and what does not decode is kept as it came and told.

use fleet_api::Severity;
use jiff::Timestamp;
use millwright_proto::link;
use millwright_summary::Window;
use prost::Message as _;

use super::StreamName;
use crate::store::{KnownNode, NewEvent, NewWindow, StoreError, StreamKey, Write};

/// Longest reason of an event kept, in bytes: reasons are words, not texts.
const REASON_BYTES_MAX: usize = 64;

/// Longest message of an event kept, in bytes: a few lines in a terminal.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Stores a window; one that does not decode is told.
pub(super) async fn window(
    write: &mut Write,
    node: &KnownNode,
    key: StreamKey<'_>,
    record: &link::Record,
    now: Timestamp,
) -> Result<(), StoreError> {
    let decoded = Window::decode(&record.payload);
    let window = NewWindow {
        first: record.first,
        last: record.last,
        span: decoded
            .as_ref()
            .ok()
            .map(|window| (window.time.wall_start_ms, window.time.length_ms)),
        payload: &record.payload,
    };
    write.insert_window(key, window, now).await?;
    if let Err(fault) = decoded {
        let numbers = format!("window {} to {}", record.first, record.last);
        let message = format!("{numbers} does not decode and says nothing: {fault}");
        warn(write, node, "UndecodableWindow", &message, now).await?;
    }
    Ok(())
}

/// Stores an event of the node.
pub(super) async fn event(
    write: &mut Write,
    node: &KnownNode,
    record: &link::Record,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = match link::Event::decode(&record.payload[..]) {
        Ok(event) => event,
        Err(fault) => {
            let message = format!("event {} does not decode: {fault}", record.first);
            return warn(write, node, "UndecodableEvent", &message, now).await;
        }
    };
    let time = i64::try_from(event.wall_time_ms).ok();
    let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let reason = match cut(&event.reason, REASON_BYTES_MAX) {
        "" => "Unnamed",
        reason => reason,
    };
    let message = cut(&event.message, MESSAGE_BYTES_MAX);
    let about = match (event.model.as_str(), event.version.as_str()) {
        ("", _) => message.to_owned(),
        (model, "") => format!("{}: {message}", cut(model, REASON_BYTES_MAX)),
        (model, version) => {
            let model = cut(model, REASON_BYTES_MAX);
            format!("{model}@{}: {message}", cut(version, REASON_BYTES_MAX))
        }
    };
    let told = NewEvent {
        tenant: &node.tenant,
        time: time.unwrap_or(now),
        severity: match event.severity() {
            link::EventSeverity::Warning => Severity::Warning,
            link::EventSeverity::Normal | link::EventSeverity::Unspecified => Severity::Normal,
        },
        reason,
        message: &about,
        regarding: &format!("Node/{}", node.name),
    };
    write.event(&told).await
}

/// Tells that something was lost.
pub(super) async fn gap(
    write: &mut Write,
    node: &KnownNode,
    stream: StreamName,
    (first, last): (u64, u64),
    reason: link::GapReason,
    now: Timestamp,
) -> Result<(), StoreError> {
    let stream = match stream {
        StreamName::Events => "events",
        StreamName::Summaries => "windows",
    };
    let why = match reason {
        link::GapReason::Evicted => "the disk budget of the outbox ran out",
        link::GapReason::Corrupt => "they were damaged on the node's disk",
        link::GapReason::FateUnknown => {
            "they were evicted after they had been sent; they may have arrived before a restore"
        }
        link::GapReason::Quarantined => "the outbox was damaged and set aside",
        link::GapReason::Unspecified => "the node does not say why",
    };
    let message = format!("{stream} {first} to {last} will never arrive: {why}");
    warn(write, node, "RecordsLost", &message, now).await
}

/// Tells that a node began again without the state it had.
pub(super) async fn state_lost(
    write: &mut Write,
    node: &KnownNode,
    now: Timestamp,
) -> Result<(), StoreError> {
    let message = "the node presented no session secret and a fresh outbox: its state was lost";
    warn(write, node, "StateLost", message, now).await
}

/// Tells that two devices use one identity.
pub(super) async fn cloned(
    write: &mut Write,
    node: &KnownNode,
    now: Timestamp,
) -> Result<(), StoreError> {
    let message = "a device presented an old session secret of this node: its disk was cloned or rolled back. \
                   Decommission the node and enroll the right device again";
    warn(write, node, "CloneSuspected", message, now).await
}

async fn warn(
    write: &mut Write,
    node: &KnownNode,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = NewEvent {
        tenant: &node.tenant,
        time: now,
        severity: Severity::Warning,
        reason,
        message,
        regarding: &format!("Node/{}", node.name),
    };
    write.event(&event).await
}

/// The text up to `bytes_max` bytes, at a character boundary.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
