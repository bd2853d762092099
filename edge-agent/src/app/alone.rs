//! Running alone: one package from a directory, without any cloud.

use std::path::{Path, PathBuf};

use millwright_proto::link::Applied;
use millwright_summary::LinkStats;
use tokio::sync::watch;

use super::running::{ControlParts, Running, ended, start_pipelines, telemetry};
use super::sink::NoSink;
use super::stop::Stop;
use super::{AppError, Base, addresses};
use crate::config::RunConfig;
use crate::control::Wish;
use crate::data_dir::{DataDir, Layout};
use crate::fetch::{NoCloud, Shelf};
use crate::journal::Journal;
use crate::local;
use crate::storage::StorageHealth;

/// Begins the names of MQTT clients that the configuration gives none.
const CLIENT_PREFIX: &str = "edge-agent";

/// Runs until `stop`. The data directory is only used to say where the agent listens.
pub(super) async fn run(
    config: &RunConfig,
    package: &Path,
    trust_keys: &[PathBuf],
    data_dir: Option<&Path>,
    stop: Stop,
) -> Result<(), AppError> {
    let data_dir = data_dir.map(DataDir::open).transpose()?;
    let layout = data_dir.as_ref().map(DataDir::layout).cloned();
    let (plan, trust) = local::plan(package, trust_keys)?;
    let expected = plan.packages.keys().cloned().collect();
    let base = Base::start(config, 0, expected, layout.as_ref(), &stop).await?;
    if let Some(layout) = &layout {
        addresses::write(layout, base.http.address)?;
    }
    let kept = layout.as_ref().map(Layout::hard_examples);
    // The package stays where it is, so this shelf stays empty.
    let layout = layout.unwrap_or_else(|| Layout::at(&std::env::temp_dir()));
    let journal = Journal::logging(base.boot, base.clock.clone());
    let (applied, _nobody) = watch::channel(Applied::default());
    let parts = ControlParts {
        wish: Wish::Local(plan),
        trust,
        blobs: NoCloud,
        shelf: Shelf::new(&layout),
        applied,
        journal,
        storage: StorageHealth::new(layout.root().to_owned()),
    };
    let running = Running::start(config, &base, parts).await;
    let telemetry = telemetry(
        &base,
        &running,
        Box::new(LinkStats::default),
        &layout,
        NoSink::default(),
    );
    let telemetry = tokio::spawn(telemetry.run(stop.wait()));
    let pipelines = start_pipelines(config, CLIENT_PREFIX.to_owned(), &base, kept, &stop);

    stop.wait().await;
    base.http.end().await;
    ended("pipelines", pipelines).await;
    ended("telemetry", telemetry).await;
    running.end().await;
    Ok(())
}
