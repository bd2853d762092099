//! An operator who looks at the fleet all the time: every answer is timed, every failure and every healthy
//! node that is shown as offline is counted.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fleet_api::{List, Node, Resource, Site};
use millwright_identity::pinned_client_config;
use millwright_tests::cloud::CloudAddresses;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::agent::Numbers;
use crate::tally::percentile;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Nodes of one page of the list.
const PAGE: usize = 500;

/// What the operator saw.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Seen {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    /// Most nodes that a site showed as not connected, at any one look.
    pub(crate) offline_by_site_max: u32,
    /// Nodes without a session in any page or answer.
    pub(crate) offline_by_node: u64,
    pub(crate) p50_ms: u64,
    pub(crate) p99_ms: u64,
    #[serde(skip)]
    times_ms: Vec<u64>,
    /// The first failures.
    pub(crate) failures: Vec<String>,
}

/// Asks the API.
pub(crate) struct Operator {
    http: reqwest::Client,
    base: String,
    ready: String,
    token: String,
    /// Owned by this type; held for an update.
    seen: Mutex<Seen>,
}

/// Failures kept.
const FAILURES_MAX: usize = 5;

impl Operator {
    pub(crate) fn new(data_directory: &Path, at: &CloudAddresses) -> Result<Self> {
        let token = std::fs::read_to_string(data_directory.join("admin.token"))
            .context("reading the admin token")?;
        let pin = at.ca_pin.parse().context("reading the pin")?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(pinned_client_config(pin))
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            base: format!("https://{}/api/v1", at.api),
            ready: format!("http://{}/health/ready", at.metrics),
            token: token.trim().to_owned(),
            seen: Mutex::default(),
        })
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.http.get(&self.ready).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Nodes of all sites, and how many of them are shown as connected.
    pub(crate) async fn count(&self) -> Result<(u32, u32)> {
        let sites: List<Site> = self.get("sites?limit=500").await?;
        let each = sites.items.iter().map(|site| &site.status);
        Ok(each.fold((0, 0), |(nodes, connected), status| {
            (nodes + status.nodes, connected + status.connected)
        }))
    }

    /// Looks until the future is dropped.
    pub(crate) async fn look(&self, nodes: &[String], mut numbers: Numbers) {
        let mut page = String::new();
        loop {
            if let Some((all, connected)) = self.timed("sites", self.count()).await {
                let mut seen = self.seen();
                seen.offline_by_site_max = seen.offline_by_site_max.max(all - connected);
            }
            let number = numbers.below(nodes.len() as u64);
            let node = &nodes[usize::try_from(number).unwrap_or(0)];
            let path = format!("nodes/{node}");
            let one = self.get::<Resource<Node>>(&path);
            if let Some(node) = self.timed("node", one).await {
                self.check(&[node]);
            }
            let path = format!("nodes?limit={PAGE}{page}");
            let list = self.get::<List<Node>>(&path);
            if let Some(list) = self.timed("nodes", list).await {
                self.check(&list.items);
                let next = list.metadata.continue_token;
                page = next.map_or(String::new(), |next| format!("&continue={next}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What was seen since it was last taken.
    pub(crate) fn take(&self) -> Seen {
        let mut seen = std::mem::take(&mut *self.seen());
        seen.times_ms.sort_unstable();
        seen.p50_ms = percentile(&seen.times_ms, 50);
        seen.p99_ms = percentile(&seen.times_ms, 99);
        seen
    }

    fn check(&self, nodes: &[Resource<Node>]) {
        let offline = nodes.iter().filter(|node| node.status.transport.is_none());
        self.seen().offline_by_node += offline.count() as u64;
    }

    async fn timed<T>(&self, what: &str, call: impl Future<Output = Result<T>>) -> Option<T> {
        let began = Instant::now();
        let answer = call.await;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut seen = self.seen();
        seen.calls += 1;
        seen.times_ms.push(took);
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                seen.failed += 1;
                if seen.failures.len() < FAILURES_MAX {
                    seen.failures.push(format!("{what}: {error:#}"));
                }
                None
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.http.get(format!("{}/{path}", self.base));
        let answer = request.bearer_auth(&self.token).send().await?;
        let body = answer.error_for_status()?.bytes().await?;
        Ok(serde_json::from_slice(&body)?)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
