//! Running alone: one package from a directory, without any cloud. Whoever sits at the box loads and unloads it.

mod keeper;

use std::path::{Path, PathBuf};

use millwright_proto::ids::Generation;
use millwright_proto::link::Applied;
use millwright_summary::LinkStats;
use tokio::sync::watch;

use keeper::Keeper;

use super::addresses::{self, Addresses};
use super::running::{ControlParts, Home, Running, ended, start_pipelines, telemetry};
use super::sink::NoSink;
use super::stop::Stop;
use super::{AppError, Base, Serving};
use crate::config::RunConfig;
use crate::control::Wish;
use crate::data_dir::{DataDir, Layout};
use crate::fetch::{NoCloud, Shelf};
use crate::journal::Journal;
use crate::local;
use crate::serving::repository::Repository;
use crate::status::NodeFacts;
use crate::storage::StorageHealth;

/// Begins the names of MQTT clients that the configuration gives none.
const CLIENT_PREFIX: &str = "edge-agent";

/// Runs until `stop`. The data directory says where the agent listens, for `edge-agent status`, and keeps hard examples.
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
    let model = plan.packages.keys().next().cloned();
    let model = model.expect("a local plan has one package");
    let (repository, orders) = Repository::own(model.clone());
    let serving = Serving {
        clock_floor_ms: 0,
        expected: [model.clone()].into(),
        repository,
        socket: layout.as_ref().map(Layout::socket),
        page_token: layout.as_ref().map(Layout::page_token),
    };
    let base = Base::start(config, serving, &stop).await?;
    let (applied, told) = watch::channel(Applied::default());
    let root = layout.as_ref().map(|layout| layout.root().to_owned());
    let storage = StorageHealth::new(root.unwrap_or_else(std::env::temp_dir));
    if let Some(layout) = &layout {
        tell(&base, layout, told.clone(), &storage)?;
    }
    let home = Home {
        client_prefix: CLIENT_PREFIX.to_owned(),
        layout: layout.clone(),
    };
    // The package stays where it is, so this shelf stays empty.
    let layout = layout.unwrap_or_else(|| Layout::at(&std::env::temp_dir()));
    let journal = Journal::logging(base.boot, base.clock.clone());
    let (wanted, wish) = watch::channel((Generation::new(1), plan));
    let keeper = Keeper {
        model,
        package: package.to_owned(),
        trust_keys: trust_keys.to_vec(),
        wanted,
        applied: told,
    };
    let keeper = tokio::spawn(keeper.run(orders));
    let parts = ControlParts {
        wish: Wish::Local(wish),
        trust,
        blobs: NoCloud,
        shelf: Shelf::new(&layout),
        applied,
        journal,
        storage,
    };
    let running = Running::start(config, &base, parts).await;
    let link = Box::new(LinkStats::default);
    let telemetry = telemetry(&base, &running, link, &layout, NoSink::default());
    let telemetry = tokio::spawn(telemetry.run(stop.wait()));
    let pipelines = start_pipelines(config, home, &base, &running, &stop);

    stop.wait().await;
    base.listeners.end().await;
    ended("pipelines", pipelines).await;
    ended("telemetry", telemetry).await;
    running.end().await;
    keeper.abort();
    Ok(())
}

/// Says where this agent listens, and lets `edge-agent status` see what the parts know.
fn tell(
    base: &Base,
    layout: &Layout,
    applied: watch::Receiver<Applied>,
    storage: &StorageHealth,
) -> Result<(), AppError> {
    addresses::write(layout, &Addresses::of(&base.listeners))?;
    base.show(NodeFacts::alone(layout), None, applied, storage);
    Ok(())
}
