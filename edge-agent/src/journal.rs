//! What happened on this node, told twice: one log line, and one event for the cloud.
//!
//! Events wait in a bounded queue for the outbox, so that no loop waits for the disk. An event that
//! finds the queue full is logged and not sent; that takes a disk that has stood still for a while.

use bytes::Bytes;
use edge_core::models::{Notice, PackageId};
use edge_core::outbox::Stream;
use millwright_proto::ids::{BootId, ModelVersion};
use millwright_proto::link::{Event, EventSeverity};
use prost::Message;
use tokio::sync::{mpsc, watch};

use crate::storage::{Part, StorageHealth};
use crate::store::Outbox;
use crate::telemetry::clock::Clock;

/// Events waiting for the disk. A swap makes about five; this holds swaps of 50 models at once.
const EVENTS_WAITING_MAX: usize = 256;

/// Longest message of an event, in characters: enough for a path and a reason, bounded for the wire.
const MESSAGE_CHARS_MAX: usize = 1024;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// Takes events. A cheap handle.
#[derive(Clone, Debug)]
pub struct Journal {
    boot: BootId,
    clock: Clock,
    events: Option<mpsc::Sender<Bytes>>,
}

/// Stores events; ends when every [`Journal`] is gone and the last event is stored.
pub struct JournalWriter {
    events: mpsc::Receiver<Bytes>,
}

impl Journal {
    /// A journal that only logs.
    #[must_use]
    pub fn logging(boot: BootId, clock: Clock) -> Self {
        Self {
            boot,
            clock,
            events: None,
        }
    }

    /// A journal that logs, and whose writer stores events.
    #[must_use]
    pub fn storing(boot: BootId, clock: Clock) -> (Self, JournalWriter) {
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let journal = Self {
            boot,
            clock,
            events: Some(sender),
        };
        (journal, JournalWriter { events })
    }

    /// Records an event; `reason` is CamelCase and stable.
    pub fn record(
        &self,
        severity: Severity,
        reason: &'static str,
        about: Option<&ModelVersion>,
        message: &str,
    ) {
        let model = about.map_or("", |about| about.model.as_str());
        let version = about.map_or("", |about| about.version.as_str());
        match severity {
            Severity::Normal => tracing::info!(reason, model, version, "{message}"),
            Severity::Warning => tracing::warn!(reason, model, version, "{message}"),
        }
        let Some(events) = &self.events else {
            return;
        };
        let now = self.clock.now();
        let event = Event {
            wall_time_ms: now.wall_ms,
            boot: Bytes::copy_from_slice(self.boot.as_bytes()),
            monotonic_ms: now.monotonic_ms,
            reason: reason.to_owned(),
            severity: match severity {
                Severity::Normal => EventSeverity::Normal,
                Severity::Warning => EventSeverity::Warning,
            }
            .into(),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            model: model.to_owned(),
            version: version.to_owned(),
        };
        if events.try_send(event.encode_to_vec().into()).is_err() {
            tracing::error!(
                reason,
                "the event is not sent: {EVENTS_WAITING_MAX} others wait for the disk"
            );
        }
    }

    /// Records what edge-core wants people to hear of.
    pub fn notice(&self, notice: &Notice) {
        let (severity, reason, package, message) = describe(notice);
        self.record(severity, reason, Some(&package.version), &message);
    }
}

fn describe(notice: &Notice) -> (Severity, &'static str, &PackageId, String) {
    match notice {
        Notice::Activated { package, replaced } => {
            let message = match replaced {
                Some(replaced) => format!(
                    "{} answers requests instead of {}",
                    package.version, replaced.version
                ),
                None => format!("{} answers requests", package.version),
            };
            (Severity::Normal, "ModelActivated", package, message)
        }
        Notice::Withdrawn { package } => {
            let message = format!(
                "{} is no longer desired and answers no requests",
                package.version
            );
            (Severity::Normal, "ModelWithdrawn", package, message)
        }
        Notice::Delayed { package, failure } => (
            Severity::Warning,
            failure.class.reason(),
            package,
            failure.message.clone(),
        ),
        Notice::Failed { package, failure } => {
            let message = format!("{}: {}", failure.class.reason(), failure.message);
            (Severity::Warning, "ModelFailed", package, message)
        }
        Notice::WorkerCrashed { package, failure } => (
            Severity::Warning,
            "WorkerCrashed",
            package,
            failure.message.clone(),
        ),
        Notice::WorkerWorn { package, failure } => (
            Severity::Warning,
            "WorkerReplaced",
            package,
            failure.message.clone(),
        ),
        Notice::MadeRoom { package } => {
            let message = format!(
                "{} answers no requests, so that its successor fits into memory",
                package.version
            );
            (Severity::Warning, "MadeRoom", package, message)
        }
        Notice::RolledBack { package, failure } => {
            let message = format!("{}: {}", failure.class.reason(), failure.message);
            (Severity::Warning, "RolledBack", package, message)
        }
    }
}

impl JournalWriter {
    /// Stores events until every journal is gone; they wait while the outbox is not open yet.
    pub async fn run(
        mut self,
        mut outbox: watch::Receiver<Option<Outbox>>,
        storage: StorageHealth,
    ) {
        while let Some(event) = self.events.recv().await {
            // An error means that the agent ends and the outbox was never opened.
            let Ok(open) = outbox
                .wait_for(Option::is_some)
                .await
                .map(|open| open.clone())
            else {
                return;
            };
            let Some(open) = open else { return };
            let stored = open.append(Stream::Events, event).await;
            if let Err(error) = &stored {
                tracing::debug!("an event is not stored and will not be sent: {error}");
            }
            storage.note(Part::Outbox, &stored);
        }
    }
}
