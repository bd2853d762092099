//! The smallest fleet that does the job: one cloudcore, one site, one agent with the sensor model deployed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_api::{Node, NodeStatus, Resource, Transport, WindowList, WindowRow};
use tempfile::TempDir;

use crate::agent::{Agent, AgentOptions};
use crate::cloud::Cloud;
use crate::infer::{InferClient, Input};
use crate::packages::{Package, data};
use crate::wait::until;

/// A rollout on a debug build with a cold cache takes seconds.
pub const ROLLOUT_TIMEOUT: &str = "90s";

/// Windows of one second are cut, sent and counted well within this.
pub const COUNTED_DEADLINE: Duration = Duration::from_secs(30);

/// One site, one node.
pub struct Fleet {
    /// How the agent was started, for starting it again.
    pub options: AgentOptions,
    /// The agent of the node.
    pub agent: Agent,
    /// The cloud.
    pub cloud: Cloud,
    directory: TempDir,
}

impl Fleet {
    /// The site's name.
    pub const SITE: &'static str = "leipzig";

    /// The node's name.
    pub const NODE: &'static str = "press-1";

    /// Starts cloud and agent; nothing is deployed yet.
    ///
    /// # Errors
    /// When anything does not come up.
    pub async fn start(options: AgentOptions) -> Result<Self> {
        let directory = tempfile::tempdir().context("making a directory for the case")?;
        let cloud = Cloud::start(directory.path()).await?;
        Self::join(cloud, directory, options).await
    }

    /// Enrolls and starts the agent of a cloud that runs already below `directory`.
    ///
    /// # Errors
    /// When anything does not come up.
    pub async fn join(cloud: Cloud, directory: TempDir, options: AgentOptions) -> Result<Self> {
        cloud.create_site(Self::SITE)?;
        let agent =
            Agent::start(&cloud, directory.path(), Self::SITE, Self::NODE, &options).await?;
        Ok(Self {
            options,
            agent,
            cloud,
            directory,
        })
    }

    /// Starts cloud and agent with version 1 of the sensor model answering.
    ///
    /// # Errors
    /// When anything does not come up.
    pub async fn with_model(options: AgentOptions) -> Result<Self> {
        let fleet = Self::start(options).await?;
        fleet.roll_out(Package::ShuttleAnomaly1)?;
        Ok(fleet)
    }

    /// Where everything of this case lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Publishes and deploys a package and waits until it answers.
    ///
    /// # Errors
    /// When the rollout does not succeed.
    pub fn roll_out(&self, package: Package) -> Result<()> {
        self.cloud.publish(package)?;
        self.cloud.deploy(package)?;
        self.cloud.await_rollout(package, ROLLOUT_TIMEOUT)?;
        Ok(())
    }

    /// A client of the agent's inference protocol.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self) -> Result<InferClient> {
        InferClient::new(self.agent.http())
    }

    /// What cloudcore knows of the node.
    ///
    /// # Errors
    /// When fleetctl fails.
    pub fn node(&self) -> Result<Resource<Node>> {
        self.cloud.fleetctl_json(&["get", "node", Self::NODE])
    }

    /// Waits until the node has a session, and tells over what.
    ///
    /// # Errors
    /// When it has none within `deadline`.
    pub async fn connected(&self, deadline: Duration) -> Result<Transport> {
        until("session of the node", deadline, async || {
            let NodeStatus { transport, .. } = self.node()?.status;
            Ok(transport)
        })
        .await
    }

    /// Every window cloudcore counted of the node, by lineage and sequence number.
    ///
    /// # Errors
    /// When fleetctl fails.
    pub fn windows(&self) -> Result<Vec<WindowRow>> {
        let mut windows = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/api/v1/nodes/{}/windows?limit=500{from}", Self::NODE);
            let text = self.cloud.fleetctl(&["get", "--raw", &path])?;
            let page: WindowList = serde_json::from_str(&text).context("reading the windows")?;
            windows.extend(page.items);
            match page.continue_token {
                Some(token) => from = format!("&continue={token}"),
                None => return Ok(windows),
            }
        }
    }
}

/// Requests by `model@version` over some windows.
#[must_use]
pub fn requests(windows: &[WindowRow]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (model, count) in windows.iter().flat_map(|window| &window.requests) {
        *sums.entry(model.clone()).or_default() += count;
    }
    sums
}

/// Fails unless the windows of every lineage cover 1, 2, 3, ... without hole and without overlap.
///
/// # Errors
/// Names the first hole or overlap.
pub fn check_contiguous(windows: &[WindowRow]) -> Result<()> {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for window in windows {
        let expected = next.entry(&window.lineage).or_insert(1);
        ensure!(
            window.first == *expected && window.last >= window.first,
            "lineage {}: expected {expected} next, found [{}, {}]",
            window.lineage,
            window.first,
            window.last
        );
        *expected = window.last + 1;
    }
    Ok(())
}

/// The first `count` real sensor rows as one input of the sensor model.
///
/// # Errors
/// When the data cannot be read.
pub fn sensor_rows(count: usize) -> Result<Input> {
    let text = std::fs::read_to_string(data("shuttle.csv")).context("reading the rows")?;
    let mut values = Vec::new();
    for line in text.lines().skip(1).take(count) {
        for value in line.split(',').take(SENSORS) {
            values.push(
                value
                    .parse()
                    .with_context(|| format!("reading the value {value}"))?,
            );
        }
    }
    Ok(Input {
        name: "sensors".to_owned(),
        shape: vec![count, SENSORS],
        values,
    })
}

/// Sensors in a row.
pub const SENSORS: usize = 9;
