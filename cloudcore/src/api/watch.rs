//! Watches: a list that goes on, as server-sent events whose id is the resource version.
//!
//! A watch that begins without a version first sends every object as `ADDED`. One that resumes (by
//! `Last-Event-ID` or `resourceVersion`) sends what happened since; when that is no longer known it is
//! answered with 410 and the client lists again. A slow client is slowed, not buffered for: changes
//! are read from the store as fast as it takes them.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use fleet_api::{Resource, WatchEvent, WatchEventType};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::failure::{Failure, ProblemType};
use super::kinds::Rules;
use super::objects::Selection;
use crate::app::App;
use crate::signals::draining;
use crate::store::{Actor, Change, Changes};

/// Watches at the same time. Each dashboard has about five; each costs a query per change.
pub(crate) const WATCHES_MAX: usize = 256;

/// Changes read at once.
const BATCH: u32 = 256;

/// Comments are sent this often, so that proxies do not cut a quiet watch.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a watch begins; `None`: with everything there is.
pub(super) fn start(
    headers: &HeaderMap,
    resource_version: Option<&str>,
) -> Result<Option<i64>, Failure> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok());
    match last.or(resource_version) {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(version) => Ok(Some(version)),
            Err(_) => Err(Failure::invalid(
                "resourceVersion",
                "take it from a list or from the id of an event",
            )),
        },
    }
}

/// Answers with the stream of events.
pub(super) async fn stream<K: Rules>(
    app: Arc<App>,
    actor: Actor,
    selection: Selection,
    since: Option<i64>,
) -> Result<Response, Failure> {
    let permit = Arc::clone(&app.watches).try_acquire_owned().map_err(|_| {
        let detail = format!("{WATCHES_MAX} watches are open");
        Failure::new(ProblemType::Overloaded, detail).hint("close some, or try again later")
    })?;
    let mut watching = Watching::<K> {
        versions: app.store.versions(),
        shutdown: app.shutdown.clone(),
        app,
        actor,
        selection,
        sent: BTreeSet::new(),
        resumed: since.is_some(),
        since: since.unwrap_or_default(),
        queue: VecDeque::new(),
        _permit: permit,
    };
    match since {
        None => watching.everything().await?,
        Some(_) => {
            watching.read().await?;
        }
    }
    let events = stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// The state of one watch.
struct Watching<K: Rules> {
    app: Arc<App>,
    actor: Actor,
    selection: Selection,
    versions: watch::Receiver<i64>,
    shutdown: watch::Receiver<bool>,
    /// Names the client has seen, to tell it when one no longer matches.
    sent: BTreeSet<String>,
    /// Whether the client may know names from before.
    resumed: bool,
    since: i64,
    queue: VecDeque<(Option<i64>, WatchEvent<K>)>,
    _permit: OwnedSemaphorePermit,
}

/// Whether more changes are known to wait in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    All,
    Some,
}

impl<K: Rules> Watching<K> {
    /// Queues every object there is.
    async fn everything(&mut self) -> Result<(), Failure> {
        let selection = &self.selection;
        let page = self
            .app
            .store
            .page::<K>(&self.actor.tenant, "", usize::MAX, |resource| {
                selection.matches(resource)
            })
            .await?;
        self.since = page.version;
        let count = page.items.len();
        for (index, object) in page.items.into_iter().enumerate() {
            // Only the last one carries an id: who is cut off before it begins anew.
            let version = (index + 1 == count).then_some(page.version);
            self.push(version, WatchEventType::Added, object);
        }
        Ok(())
    }

    /// Queues what happened since; tells whether that was all.
    async fn read(&mut self) -> Result<Read, Failure> {
        let tenant = &self.actor.tenant;
        let changes = self
            .app
            .store
            .changes::<K>(tenant, self.since, BATCH)
            .await?;
        let Changes::Since(changes) = changes else {
            let detail = format!("version {} is too long ago", self.since);
            return Err(Failure::new(ProblemType::Expired, detail)
                .at("resourceVersion")
                .hint("list again, then watch from the list's resourceVersion"));
        };
        let read = match changes.len() < BATCH as usize {
            true => Read::All,
            false => Read::Some,
        };
        for (version, change) in changes {
            self.since = version;
            let version = Some(version);
            match change {
                Change::Added(object) if self.selection.matches(&object) => {
                    self.push(version, WatchEventType::Added, object);
                }
                Change::Modified(object) if self.selection.matches(&object) => {
                    let known = self.resumed || self.sent.contains(&object.metadata.name);
                    let kind = match known {
                        true => WatchEventType::Modified,
                        false => WatchEventType::Added,
                    };
                    self.push(version, kind, object);
                }
                // Gone, or no longer selected, which is the same to this client.
                Change::Added(object) | Change::Modified(object) | Change::Deleted(object) => {
                    if self.resumed || self.sent.contains(&object.metadata.name) {
                        self.push(version, WatchEventType::Deleted, object);
                    }
                }
            }
        }
        Ok(read)
    }

    fn push(&mut self, version: Option<i64>, kind: WatchEventType, object: Resource<K>) {
        let name = object.metadata.name.clone();
        match kind {
            WatchEventType::Added | WatchEventType::Modified => self.sent.insert(name),
            WatchEventType::Deleted => self.sent.remove(&name),
        };
        self.queue.push_back((version, WatchEvent { kind, object }));
    }

    /// The next event; `None` when the watch ends (the client comes back and resumes).
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((version, event)) = self.queue.pop_front() {
                let frame = match version {
                    Some(version) => Event::default().id(version.to_string()),
                    None => Event::default(),
                };
                // API types have text keys only, so they are always JSON.
                return frame.json_data(event).ok();
            }
            tokio::select! {
                changed = self.versions.wait_for(|version| *version > self.since) => {
                    changed.ok()?;
                }
                () = draining(&mut self.shutdown) => return None,
            }
            let newest = *self.versions.borrow();
            if self.read().await.ok()? == Read::All && self.queue.is_empty() {
                // Everything up to there was of other kinds, or not selected.
                self.since = self.since.max(newest);
            }
        }
    }
}
