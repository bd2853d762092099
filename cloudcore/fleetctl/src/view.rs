//! How each kind looks: its columns in tables, its details in `describe`.

mod fleet;
mod measured;
mod models;
mod pipelines;
pub(crate) mod rollouts;

#[cfg(test)]
mod tests;

use fleet_api::{Condition, Event, Kind, Resource};
use jiff::Timestamp;

use crate::output::{Column, Page, age};
pub(crate) use measured::measured;

/// A kind that can be shown.
pub(crate) trait View: Kind {
    /// Columns of its table, in order.
    const COLUMNS: &'static [Column];

    /// One cell per column.
    fn cells(object: &Resource<Self>, now: Timestamp) -> Vec<String>;

    /// What `describe` says beside the metadata and the events.
    fn details(object: &Resource<Self>, page: &mut Page, now: Timestamp);
}

/// The whole page of `describe`.
pub(crate) fn describe<K: View>(object: &Resource<K>, events: &[Event], now: Timestamp) -> Page {
    let mut page = Page::default();
    page.field("Name", &object.metadata.name);
    page.field("Kind", K::KIND);
    page.pairs("Labels", &object.metadata.labels);
    page.pairs("Annotations", &object.metadata.annotations);
    page.field("Created", time(object.metadata.creation_timestamp));
    page.optional("Generation", object.metadata.generation);
    K::details(object, &mut page, now);
    // All of them are about this object.
    let columns = ["AGE", "SEVERITY", "REASON", "MESSAGE"].map(Column::Always);
    let cells = |event: &Event| {
        let [_id, age, severity, reason, _regarding, message] = event_cells(event, now);
        vec![age, severity, reason, message]
    };
    page.rows("Events", &columns, events.iter().map(cells).collect());
    page
}

/// Columns of events; the message is last, because it may be long.
pub(crate) const EVENT_COLUMNS: [Column; 6] = [
    Column::Wide("ID"),
    Column::Always("AGE"),
    Column::Always("SEVERITY"),
    Column::Always("REASON"),
    Column::Always("REGARDING"),
    Column::Always("MESSAGE"),
];

/// One cell per event column.
pub(crate) fn event_cells(event: &Event, now: Timestamp) -> [String; 6] {
    [
        event.id.to_string(),
        age(event.time, now),
        format!("{:?}", event.severity),
        event.reason.clone(),
        event.regarding.clone(),
        event.message.clone(),
    ]
}

fn conditions(page: &mut Page, conditions: &[Condition], now: Timestamp) {
    let columns = ["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"].map(Column::Always);
    let cells = |condition: &Condition| {
        vec![
            condition.kind.clone(),
            format!("{:?}", condition.status),
            age(condition.last_transition_time, now),
            condition.reason.clone(),
            condition.message.clone(),
        ]
    };
    page.rows(
        "Conditions",
        &columns,
        conditions.iter().map(cells).collect(),
    );
}

/// Status of the condition `kind`; empty when nothing is known of it.
fn condition(conditions: &[Condition], kind: &str) -> String {
    let found = conditions.iter().find(|condition| condition.kind == kind);
    found
        .map(|condition| format!("{:?}", condition.status))
        .unwrap_or_default()
}

fn text<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A moment to the second.
fn time(moment: Option<Timestamp>) -> String {
    moment
        .map(|moment| format!("{moment:.0}"))
        .unwrap_or_default()
}
