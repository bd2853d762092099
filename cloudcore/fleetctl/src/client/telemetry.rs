//! What the fleet measured and what happened.

use fleet_api::{Event, EventList, SummaryReport};
use jiff::Timestamp;

use super::{Client, ClientError, PAGE_ITEMS, append};

/// Which summaries.
#[derive(Clone, Debug, Default)]
pub(crate) struct SummaryFilter {
    /// Of one node only.
    pub(crate) node: Option<String>,
    /// Of one model only.
    pub(crate) model: Option<String>,
    /// Windows that began at or after this.
    pub(crate) since: Option<Timestamp>,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    /// Only those with a greater id.
    pub(crate) after: u64,
    /// Only those about `Kind/name`.
    pub(crate) regarding: Option<String>,
}

impl Client {
    /// Summaries, merged per node and model version.
    pub(crate) async fn summaries(
        &self,
        filter: &SummaryFilter,
    ) -> Result<SummaryReport, ClientError> {
        let mut url = self.url(&["summaries"]);
        append(&mut url, "node", filter.node.as_deref());
        append(&mut url, "model", filter.model.as_deref());
        append(
            &mut url,
            "since",
            filter.since.map(|since| since.to_string()).as_deref(),
        );
        self.read(url).await
    }

    /// The next page of events, oldest first; empty when there are no more.
    pub(crate) async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, ClientError> {
        let mut url = self.url(&["events"]);
        append(&mut url, "after", Some(&filter.after.to_string()));
        append(&mut url, "regarding", filter.regarding.as_deref());
        append(&mut url, "limit", Some(&PAGE_ITEMS.to_string()));
        let list: EventList = self.read(url).await?;
        Ok(list.items)
    }
}
