//! Results as requests to a web server, one at a time.
//!
//! A request that fails is tried again after 0.5, 1, 2, .. seconds. While the server is away every result gets one
//! try only and tries stay apart, so that a server that comes back is not met by a storm; results that find the
//! queue full are lost and counted.

use std::time::Duration;

use bytes::Bytes;
use millwright_pipeline::{Webhook, When};
use tokio::sync::mpsc;

use super::super::backoff::Backoff;
use super::super::http::{Endpoint, HttpError};
use super::SinkGauge;

/// Results that wait: with a server that takes 100 ms, six seconds of one result every 100 ms.
const RESULTS_WAITING_MAX: usize = 64;

/// Waits between tries of one result.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Least time between two tries while the server is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Takes results for a web server.
#[derive(Debug)]
pub(in crate::pipeline) struct Hook {
    results: mpsc::Sender<Bytes>,
    when: When,
}

/// Where results wait for [`deliver`].
pub(in crate::pipeline) fn hook(webhook: &Webhook) -> (Hook, mpsc::Receiver<Bytes>) {
    let (results, waiting) = mpsc::channel(RESULTS_WAITING_MAX);
    let when = webhook.when;
    (Hook { results, when }, waiting)
}

impl Hook {
    pub(super) const fn when(&self) -> When {
        self.when
    }

    /// Whether there was room for it.
    pub(super) fn offer(&self, json: Bytes) -> bool {
        self.results.try_send(json).is_ok()
    }
}

/// Sends results until nobody brings any more.
pub(in crate::pipeline) async fn deliver(
    webhook: Webhook,
    mut results: mpsc::Receiver<Bytes>,
    gauge: SinkGauge,
) {
    let mut is_away = false;
    while let Some(json) = results.recv().await {
        let tries = if is_away { 1 } else { webhook.retries + 1 };
        let sent = send(&webhook, &json, tries).await;
        is_away = sent.is_err();
        match sent {
            Ok(()) => gauge.delivered(),
            Err(error) => {
                gauge.lost(&format!("{} takes no results: {error}", webhook.url));
                tokio::time::sleep(AWAY_PAUSE).await;
            }
        }
    }
}

async fn send(webhook: &Webhook, json: &Bytes, tries: u32) -> Result<(), HttpError> {
    let limit = Duration::from_millis(u64::from(webhook.timeout_ms));
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut tried = 0;
    loop {
        tried += 1;
        let sent = async {
            let endpoint = Endpoint::webhook(webhook)?;
            endpoint.post_json(json.clone()).await
        };
        let error = match tokio::time::timeout(limit, sent).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => HttpError::Timeout(limit),
        };
        if tried >= tries || error.is_final() {
            return Err(error);
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
