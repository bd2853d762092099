//! A fleet is connected, cloudcore is killed and started again: who is back when, after how many attempts,
//! and what an operator sees meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_core::link::{Routes, Transport};
use millwright_tests::cloud::Cloud;
use millwright_tests::wait::until;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::agent::{Agent, Numbers, Plant};
use crate::identity::{self, Identity};
use crate::operator::{Operator, Seen};
use crate::tally::{Tally, percentile};
use crate::wire::{Dialers, Handshakes};

/// A cold fleet comes up over this time for every thousand agents: as power comes back to a region.
const POWER_UP_MS_PER_THOUSAND: u64 = 4_000;

/// A fleet that is not connected by then never will be.
const CONNECT_DEADLINE: Duration = Duration::from_secs(240);

/// How long the operator looks at the quiet fleet, for comparison. Longer than a session takes to prove itself
/// (`edge_core::link::PROVEN_MS`), as all but the newest of a real fleet have.
const QUIET: Duration = Duration::from_secs(12);

/// How long the operator goes on looking after everybody is back.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// How a fleet is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) agents: usize,
    pub(crate) websocket_percent: usize,
    pub(crate) window: Duration,
    pub(crate) seed: u64,
    pub(crate) handshakes: Handshakes,
}

/// One phase: from a moment until everybody had a Welcome.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    pub(crate) attempts: u64,
    pub(crate) attempts_per_agent: f64,
    pub(crate) failed: u64,
    pub(crate) sent_away: u64,
    pub(crate) welcome_p50_ms: u64,
    pub(crate) welcome_p99_ms: u64,
    pub(crate) reasons: Vec<String>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) agents: usize,
    pub(crate) seed: u64,
    pub(crate) load_average: String,
    pub(crate) cold_start: Phase,
    pub(crate) quiet: Seen,
    /// Counted from SIGKILL.
    pub(crate) storm: Phase,
    /// From SIGKILL until cloudcore said that it is ready.
    pub(crate) ready_seconds: f64,
    pub(crate) during: Seen,
    pub(crate) connected_at_end: usize,
    pub(crate) fenced: u64,
    pub(crate) acknowledged: u64,
    pub(crate) cloud_pss_kib_without_agents: u64,
    pub(crate) cloud_pss_kib_with_agents: u64,
    pub(crate) cloud_kib_per_session: f64,
}

/// A fleet whose agents run in this process.
pub(crate) struct Fleet {
    pub(crate) cloud: Cloud,
    pub(crate) plant: Arc<Plant>,
    pub(crate) nodes: Vec<String>,
    agents: JoinSet<()>,
}

impl Fleet {
    /// Starts cloudcore, enrolls who is missing, and lets every agent begin.
    pub(crate) async fn start(directory: &Path, size: Size) -> Result<(Self, u64)> {
        let (fleet, _, pss_kib) = Self::start_with_spares(directory, size, 0).await?;
        Ok((fleet, pss_kib))
    }

    /// Like [`Fleet::start`]; the last `spares` nodes are enrolled and do not run.
    pub(crate) async fn start_with_spares(
        directory: &Path,
        size: Size,
        spares: usize,
    ) -> Result<(Self, Vec<Identity>, u64)> {
        std::fs::create_dir_all(directory).context("making the directory")?;
        let mut cloud = Cloud::start(directory).await?;
        let mut identities = identity::load_or_enroll(&cloud, directory, size.agents).await?;
        let spare = identities.split_off(identities.len().saturating_sub(spares));
        let pss_kib = pss_kib(cloud.process().id()?)?;
        let at = cloud.addresses();
        let plant = Arc::new(Plant {
            dialers: Dialers::new(at.quic, at.websocket, size.handshakes)?,
            tally: Tally::default(),
            began: Instant::now(),
            window: size.window,
        });
        plant.tally.next_phase();
        let nodes = identities.iter().map(|identity| identity.node.clone());
        let mut fleet = Self {
            cloud,
            plant,
            nodes: nodes.collect(),
            agents: JoinSet::new(),
        };
        fleet.power_up(identities, size, run_of(directory)?)?;
        Ok((fleet, spare, pss_kib))
    }

    fn power_up(&mut self, identities: Vec<Identity>, size: Size, run: u64) -> Result<()> {
        // An agent's lineage must be fresh in every run, as after a lost disk.
        let mut numbers = Numbers(size.seed ^ run.rotate_left(32));
        let over_ms = size.agents as u64 * POWER_UP_MS_PER_THOUSAND / 1_000;
        for (number, identity) in identities.into_iter().enumerate() {
            let routes = if number % 100 < size.websocket_percent {
                Routes::Only(Transport::WebSocket)
            } else {
                Routes::Both
            };
            let pause = Duration::from_millis(numbers.below(over_ms.max(1)));
            let own = Numbers(numbers.next());
            let agent = Agent::new(Arc::clone(&self.plant), number, identity, routes, own)?;
            self.agents.spawn(agent.run(pause));
        }
        Ok(())
    }

    /// Waits until every agent had a Welcome since `began`.
    pub(crate) async fn all_back(&self, began: Instant) -> Result<Phase> {
        let agents = self.nodes.len();
        let tally = &self.plant.tally;
        let mut told = Instant::now();
        until("Welcome for every agent", CONNECT_DEADLINE, async || {
            let (back, connected) = (&tally.back, &tally.connected);
            let (back, connected) = (
                back.load(Ordering::Relaxed),
                connected.load(Ordering::Relaxed),
            );
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                let sorted = tally.sorted_welcomes();
                eprintln!(
                    "{:5.1} s: {connected} connected, {back} of {agents} back, {} attempts, {} failed, p50 {} ms, p99 {} ms",
                    began.elapsed().as_secs_f64(),
                    tally.attempts.load(Ordering::Relaxed),
                    tally.failed.load(Ordering::Relaxed),
                    percentile(&sorted, 50),
                    percentile(&sorted, 99),
                );
            }
            Ok((back == agents && connected == agents).then_some(()))
        })
        .await
        .with_context(|| format!("reasons: {:?}", tally.told_reasons()))?;
        let attempts = tally.attempts.load(Ordering::Relaxed);
        let sorted = tally.sorted_welcomes();
        Ok(Phase {
            seconds: began.elapsed().as_secs_f64(),
            attempts,
            attempts_per_agent: attempts as f64 / agents.max(1) as f64,
            failed: tally.failed.load(Ordering::Relaxed),
            sent_away: tally.sent_away.load(Ordering::Relaxed),
            welcome_p50_ms: percentile(&sorted, 50),
            welcome_p99_ms: percentile(&sorted, 99),
            reasons: tally.told_reasons(),
        })
    }

    /// Waits until the API shows every node as connected.
    pub(crate) async fn all_shown(&self, operator: &Operator) -> Result<()> {
        let agents = u32::try_from(self.nodes.len())?;
        until(
            "every node shown as connected",
            CONNECT_DEADLINE,
            async || {
                let (nodes, connected) = operator.count().await?;
                ensure!(nodes >= agents, "{nodes} nodes are shown, {agents} run");
                Ok((connected == agents).then_some(()))
            },
        )
        .await
    }
}

/// Runs the storm.
pub(crate) async fn run(directory: &Path, size: Size) -> Result<Summary> {
    let began = Instant::now();
    let (mut fleet, pss_before) = Fleet::start(directory, size).await?;
    let operator = Operator::new(&fleet.cloud.data_directory(), fleet.cloud.addresses())?;
    let cold_start = fleet.all_back(fleet.plant.began).await?;
    fleet.all_shown(&operator).await?;
    eprintln!(
        "{:.1} s: the fleet is up and shown",
        began.elapsed().as_secs_f64()
    );
    let mut numbers = Numbers(size.seed);
    let looking = operator.look(&fleet.nodes, Numbers(numbers.next()));
    drop(tokio::time::timeout(QUIET, looking).await);
    let quiet = operator.take();
    let pss_after = pss_kib(fleet.cloud.process().id()?)?;

    fleet.plant.tally.next_phase();
    let killed = Instant::now();
    fleet.cloud.process().kill()?;
    fleet.cloud.start_again().await?;
    until("readiness", CONNECT_DEADLINE, async || {
        Ok(operator.is_ready().await.then_some(()))
    })
    .await?;
    let ready_seconds = killed.elapsed().as_secs_f64();
    eprintln!("{ready_seconds:.1} s after SIGKILL: ready again");
    let looking = operator.look(&fleet.nodes, Numbers(numbers.next()));
    let returning = async {
        let storm = fleet.all_back(killed).await?;
        tokio::time::sleep(AFTERWARDS).await;
        anyhow::Ok(storm)
    };
    let storm = tokio::select! {
        storm = returning => storm?,
        () = looking => unreachable!("the operator looks for good"),
    };
    let tally = &fleet.plant.tally;
    Ok(Summary {
        agents: size.agents,
        seed: size.seed,
        load_average: std::fs::read_to_string("/proc/loadavg")?.trim().to_owned(),
        cold_start,
        quiet,
        storm,
        ready_seconds,
        during: operator.take(),
        connected_at_end: tally.connected.load(Ordering::Relaxed),
        fenced: tally.fenced.load(Ordering::Relaxed),
        acknowledged: tally.acknowledged.load(Ordering::Relaxed),
        cloud_pss_kib_without_agents: pss_before,
        cloud_pss_kib_with_agents: pss_after,
        cloud_kib_per_session: pss_after.saturating_sub(pss_before) as f64
            / size.agents.max(1) as f64,
    })
}

/// Counts the runs on this directory.
fn run_of(directory: &Path) -> Result<u64> {
    let file = directory.join("runs");
    let runs: u64 = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().context("reading the number of runs")?,
        Err(_) => 0,
    };
    std::fs::write(&file, (runs + 1).to_string()).context("counting the run")?;
    Ok(runs + 1)
}

/// The proportional set size of a process.
pub(crate) fn pss_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no Pss in smaps_rollup")?.parse()?)
}
