//! A real agent under a real cloudcore: killed at any moment, start-up included, and with a disk that fails.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::AgentOptions;
use millwright_tests::commits::{check_every_commit_is_counted_once, committed};
use millwright_tests::fleet::{Fleet, ROLLOUT_TIMEOUT};
use millwright_tests::infer::{Input, Load};
use millwright_tests::packages::{copy_tree, zoo};
use millwright_tests::process::Process;
use millwright_tests::wait::until;
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::report::{Outcome, Progress};

/// A small network: it is open in milliseconds, so that an agent is killed at work and not while ONNX Runtime starts.
const MODEL: &str = "pump-numbers";
const VERSION: &str = "1.0.0";
const FIELDS: usize = 6;

/// Windows of one second are cut, and commits tried again, well within this.
const WINDOWS_DEADLINE: Duration = Duration::from_secs(60);

/// Clients of the line.
const SENDERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(10);

/// How often it is looked how far the fleets are.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AgentKills {
    /// Kills in all.
    #[arg(long, default_value_t = 10)]
    kills: u64,
    /// Fleets, each of one cloudcore and one agent, among which they are divided.
    #[arg(long, default_value_t = 1)]
    fleets: u64,
    /// Longest life of an agent, in milliseconds.
    #[arg(long, default_value_t = 2_500)]
    life_ms_max: u64,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct KillFigures {
    /// Those while it started included.
    kills: u64,
    kills_while_starting: u64,
    windows_committed: usize,
    windows_counted: usize,
    requests_answered: usize,
}

impl KillFigures {
    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.kills_while_starting += other.kills_while_starting;
        self.windows_committed += other.windows_committed;
        self.windows_counted += other.windows_counted;
        self.requests_answered += other.requests_answered;
    }
}

/// Kills agents again and again, then compares what each committed with what was counted of it.
///
/// # Errors
/// When it cannot be carried out; broken promises are in the outcome.
pub(crate) fn kills(kills: &AgentKills, seed: u64) -> Result<Outcome<KillFigures>> {
    let runtime = tokio::runtime::Runtime::new().context("making a runtime")?;
    let mut progress = Progress::new("agent-kills", kills.kills, seed);
    let mut figures = KillFigures::default();
    let all = kill_all(kills, seed, &mut figures, &mut progress);
    let result = LocalSet::new().block_on(&runtime, all);
    Ok(outcome("agent-kills", seed, &progress, figures, result))
}

async fn kill_all(
    kills: &AgentKills,
    seed: u64,
    figures: &mut KillFigures,
    progress: &mut Progress,
) -> Result<()> {
    let done = Arc::new(AtomicU64::new(0));
    let mut fleets = JoinSet::new();
    let (fleets_most, life_ms_max) = (kills.fleets.max(1), kills.life_ms_max);
    for number in 0..fleets_most {
        let share = kills.kills / fleets_most + u64::from(number < kills.kills % fleets_most);
        let (dice, done) = (
            fastrand::Rng::with_seed(seed ^ number << 32),
            Arc::clone(&done),
        );
        fleets.spawn_local(kill_one(share, life_ms_max, dice, done));
    }
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            ended = fleets.join_next() => match ended {
                Some(ended) => figures.add(&ended.context("a fleet panicked")??),
                None => return Ok(()),
            },
            _ = look.tick() => progress.at(done.load(Ordering::Relaxed), 0),
        }
    }
}

/// Kills the agent of one fleet.
async fn kill_one(
    kills: u64,
    life_ms_max: u64,
    mut dice: fastrand::Rng,
    done: Arc<AtomicU64>,
) -> Result<KillFigures> {
    let mut figures = KillFigures::default();
    let mut fleet = fleet_of_one().await?;
    let load = load(&fleet)?;
    while figures.kills < kills {
        let life = Duration::from_millis(dice.u64(0..=life_ms_max));
        // The agent listens on the port it had, so the load goes on where it was.
        tokio::time::sleep(life).await;
        fleet.agent.process().kill()?;
        figures.kills += 1;
        let start = Duration::from_millis(dice.u64(0..=life_ms_max));
        // A start that takes longer than this is killed in the middle of it.
        let started = tokio::time::timeout(start, fleet.agent.start_again(&fleet.options)).await;
        if let Ok(started) = started {
            started?;
        } else {
            figures.kills += 1;
            figures.kills_while_starting += 1;
            fleet.agent.start_again(&fleet.options).await?;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    answers(&fleet).await?;
    figures.requests_answered = load.stop().await?.answered();
    figures.windows_committed = check_every_commit_is_counted_once(&mut fleet, 1).await?;
    // Contiguous from 1 in every lineage, so nothing is lost, doubled or declared beside them.
    figures.windows_counted = fleet.windows()?.len();
    Ok(figures)
}

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AgentFaults {
    /// How long every sync fails, in milliseconds.
    #[arg(long, default_value_t = 4_000)]
    fail_ms: u64,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FaultFigures {
    skipped: Option<&'static str>,
    requests_answered: usize,
    requests_failed: usize,
    windows_committed: usize,
    errors_logged: usize,
}

/// Lets every fdatasync of an agent fail for a while; the line goes on, and so do the windows afterwards.
///
/// # Errors
/// When it cannot be carried out; broken promises are in the outcome.
pub(crate) fn faults(faults: &AgentFaults, seed: u64) -> Result<Outcome<FaultFigures>> {
    let runtime = tokio::runtime::Runtime::new().context("making a runtime")?;
    let progress = Progress::new("agent-faults", 1, seed);
    let mut figures = FaultFigures::default();
    let result = runtime.block_on(fail_syncs(faults, &mut figures));
    Ok(outcome("agent-faults", seed, &progress, figures, result))
}

async fn fail_syncs(faults: &AgentFaults, figures: &mut FaultFigures) -> Result<()> {
    if !crate::faults::available("strace") {
        figures.skipped = Some("strace is not installed");
        return Ok(());
    }
    let mut fleet = fleet_of_one().await?;
    let load = load(&fleet)?;
    more_windows(&mut fleet).await?;
    let agent = fleet.agent.pid()?.to_string();
    let mut tracer = Command::new("strace");
    tracer
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
        .args(["-e", "inject=fdatasync:error=EIO", "-p", &agent])
        .stdin(Stdio::null());
    let log = fleet.directory().join("strace.log");
    let mut tracer = Process::start("strace", &mut tracer, &log)?;
    tokio::time::sleep(Duration::from_millis(faults.fail_ms)).await;
    tracer.check_running()?;
    tracer.signal(rustix::process::Signal::INT)?;
    tracer.wait(WINDOWS_DEADLINE).await?;
    more_windows(&mut fleet).await?;
    let report = load.stop().await?;
    figures.requests_answered = report.answered();
    figures.requests_failed = report.failures.len();
    let log = fleet.agent.process().log_text()?;
    figures.errors_logged = log.matches("storing a window failed").count();
    ensure!(
        report.failures.is_empty(),
        "the line noticed: {}",
        report.failures[0]
    );
    ensure!(
        figures.errors_logged > 0,
        "no sync failed, so this proves nothing"
    );
    figures.windows_committed = check_every_commit_is_counted_once(&mut fleet, 2).await?;
    Ok(())
}

/// A fleet whose one agent answers with the model.
async fn fleet_of_one() -> Result<Fleet> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    let package = fleet.directory().join(MODEL);
    copy_tree(&zoo(MODEL)?, &package)?;
    fleet.cloud.publish_directory(&package)?;
    fleet.cloud.deploy_version(MODEL, VERSION)?;
    fleet.cloud.await_rollout_of(MODEL, ROLLOUT_TIMEOUT)?;
    Ok(fleet)
}

fn row() -> Input {
    Input {
        name: "sensors".to_owned(),
        shape: vec![1, FIELDS],
        values: vec![0.5; FIELDS],
    }
}

fn load(fleet: &Fleet) -> Result<Load> {
    let inputs = [row()];
    Ok(Load::start(
        &fleet.client()?,
        MODEL,
        &inputs,
        SENDERS,
        PAUSE,
    ))
}

async fn more_windows(fleet: &mut Fleet) -> Result<()> {
    let before = committed(fleet.agent.process())?.len();
    until("two more committed windows", WINDOWS_DEADLINE, async || {
        let now = committed(fleet.agent.process())?.len();
        Ok((now >= before + 2).then_some(()))
    })
    .await
}

async fn answers(fleet: &Fleet) -> Result<()> {
    let (client, row) = (fleet.client()?, row());
    until("answer after the restart", WINDOWS_DEADLINE, async || {
        let answer = client.infer(MODEL, std::slice::from_ref(&row)).await;
        Ok(answer.ok().map(drop))
    })
    .await
}

fn outcome<T: Serialize>(
    torture: &'static str,
    seed: u64,
    progress: &Progress,
    figures: T,
    result: Result<()>,
) -> Outcome<T> {
    let findings: Vec<_> = result
        .err()
        .map(|error| format!("{error:#}"))
        .into_iter()
        .collect();
    Outcome {
        torture,
        seed,
        seconds: progress.seconds(),
        figures,
        findings_total: findings.len() as u64,
        findings,
    }
}
