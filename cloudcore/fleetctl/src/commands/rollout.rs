//! `fleetctl rollout`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use fleet_api::{ModelDeployment, Resource, Rollout, RolloutNodeStatus, RolloutPhase, Verdict};
use jiff::Timestamp;
use thiserror::Error;
use tokio::time::Instant;

use super::{duration, get};
use crate::client::{Client, ClientError, Filter};
use crate::exit::Exit;
use crate::output::{self, OutputArgs};
use crate::view::rollouts::{passed, wave};

#[cfg(test)]
mod tests;

/// How often the rollout is looked at: an activation takes seconds.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Commands about rollouts.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Wait for a rollout to end
    #[command(after_help = "\
Progress goes to stderr, the result to stdout. Exit codes: 0 succeeded, 10 failed, 11 superseded
by a newer rollout, 12 not ended within --timeout (it goes on), 4 there is no such rollout.
With --deployment the newest rollout is followed, also when another one takes over.

Examples:
  fleetctl rollout status faces-2
  fleetctl rollout status --deployment faces --timeout 15m")]
    Status(StatusArgs),
    /// List the rollouts of a deployment
    #[command(after_help = "\
Examples:
  fleetctl rollout history faces
  fleetctl rollout history -o wide")]
    History(HistoryArgs),
}

/// Arguments of `rollout status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Name of the rollout
    #[arg(required_unless_present = "deployment", conflicts_with = "deployment")]
    name: Option<String>,
    /// The newest rollout of this deployment
    #[arg(long)]
    deployment: Option<String>,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `rollout history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Only rollouts of this deployment
    deployment: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// How a rollout ended, other than well.
#[derive(Debug, Error)]
pub(crate) enum RolloutEnd {
    /// A node refused the version.
    #[error("rollout {name} failed: {message}{}; look at `fleetctl describe rollout {name}`", listed(.nodes))]
    Failed {
        name: String,
        message: String,
        nodes: Vec<String>,
    },
    /// A newer one took over.
    #[error("rollout {0} was superseded by a newer one; follow it with --deployment")]
    Superseded(String),
    /// It did not end in time.
    #[error("{what} within {seconds}s; it goes on: look at {next}")]
    Timeout {
        what: String,
        seconds: u64,
        next: String,
    },
}

impl RolloutEnd {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Failed { .. } => Exit::RolloutFailed,
            Self::Superseded(_) => Exit::RolloutSuperseded,
            Self::Timeout { .. } => Exit::RolloutTimeout,
        }
    }
}

fn listed(nodes: &[String]) -> String {
    nodes.iter().map(|node| format!("; {node}")).collect()
}

pub(super) async fn run(
    command: RolloutCommand,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    match command {
        RolloutCommand::Status(args) => {
            let rollout = match (args.name, args.deployment) {
                (Some(name), _) => wait(client, Followed::Rollout(name), args.timeout).await?,
                (None, Some(name)) => {
                    wait(client, Followed::Deployment(name), args.timeout).await?
                }
                (None, None) => anyhow::bail!("name a rollout or a --deployment"),
            };
            output::object(out, args.output.output, rollout, now)
        }
        RolloutCommand::History(args) => {
            let fields = args
                .deployment
                .map(|name| format!("spec.deployment={name}"));
            let filter = Filter {
                labels: None,
                fields,
            };
            get::list::<Rollout>(&filter, args.output.output, client, out, now).await
        }
    }
}

/// What is waited for.
pub(super) enum Followed {
    /// One rollout.
    Rollout(String),
    /// The newest rollout of a deployment.
    Deployment(String),
}

/// What one look found.
enum Look {
    /// No rollout speaks of what was asked for yet.
    NotBegun(String),
    /// The rollout as it stands.
    Rollout(Box<Resource<Rollout>>),
}

/// Waits until the rollout succeeds, and says on stderr whenever something moved. A cloudcore that
/// cannot be reached meanwhile is waited for too.
pub(super) async fn wait(
    client: &Client,
    followed: Followed,
    timeout: Duration,
) -> anyhow::Result<Resource<Rollout>> {
    let deadline = Instant::now() + timeout;
    let mut said = String::new();
    let mut say = |line: String| {
        if line != said {
            eprintln!("{line}");
            said = line;
        }
    };
    loop {
        let what = match look(client, &followed).await {
            Ok(Look::NotBegun(why)) => {
                say(why.clone());
                why
            }
            Ok(Look::Rollout(rollout)) => {
                let line = progress(&rollout);
                say(line.clone());
                match end(&rollout, &followed) {
                    Some(Ok(())) => return Ok(*rollout),
                    Some(Err(end)) => return Err(end.into()),
                    None => line,
                }
            }
            Err(error) if error.is_passing() => {
                say(error.to_string());
                "cloudcore did not answer".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        let wake = Instant::now() + POLL_EVERY;
        if wake > deadline {
            let next = match &followed {
                Followed::Rollout(name) => format!("`fleetctl describe rollout {name}`"),
                Followed::Deployment(name) => format!("`fleetctl describe deployment {name}`"),
            };
            return Err(RolloutEnd::Timeout {
                what,
                seconds: timeout.as_secs(),
                next,
            }
            .into());
        }
        tokio::time::sleep_until(wake).await;
    }
}

async fn look(client: &Client, followed: &Followed) -> Result<Look, ClientError> {
    let name = match followed {
        Followed::Rollout(name) => {
            return Ok(Look::Rollout(Box::new(client.get(name).await?)));
        }
        Followed::Deployment(name) => name,
    };
    let deployment = client.get::<ModelDeployment>(name).await?;
    if let Some(current) = current_rollout(&deployment) {
        let rollout = client.get::<Rollout>(&current).await?;
        if is_of(&rollout, &deployment) {
            return Ok(Look::Rollout(Box::new(rollout)));
        }
    }
    Ok(Look::NotBegun(not_begun(&deployment)))
}

/// What the planner says of the wait, once it speaks of the deployment as it stands now: until then its words are about
/// the version before.
fn not_begun(deployment: &Resource<ModelDeployment>) -> String {
    let mut why = format!(
        "no rollout of deployment {} has begun",
        deployment.metadata.name
    );
    let mut conditions = deployment.status.conditions.iter();
    let said = conditions.find(|found| found.kind == "Progressing");
    if let Some(said) = said.filter(|_| is_seen(deployment)) {
        why.push_str(&format!(" ({})", said.message));
    }
    why
}

/// Whether the rollout brings what the deployment wants now: a version that was never pushed has no rollout, and the
/// one before it may have succeeded long ago.
fn is_of(rollout: &Resource<Rollout>, deployment: &Resource<ModelDeployment>) -> bool {
    let (brought, wanted) = (&rollout.spec, &deployment.spec);
    brought.model == wanted.model && brought.version == wanted.version
}

/// The newest rollout, once the planner has seen the deployment as it stands now.
fn current_rollout(deployment: &Resource<ModelDeployment>) -> Option<String> {
    let rollout = deployment.status.rollout.clone();
    rollout.filter(|_| is_seen(deployment))
}

/// Whether the status speaks of the deployment as it stands now.
fn is_seen(deployment: &Resource<ModelDeployment>) -> bool {
    let wanted = deployment.metadata.generation.unwrap_or(0);
    deployment.status.observed_generation >= wanted
}

/// One line: `faces-2: wave 1/3 canary, 1/12 nodes passed; press-3: downloading`.
fn progress(rollout: &Resource<Rollout>) -> String {
    let status = &rollout.status;
    let mut line = format!(
        "{} ({}@{}): {:?}, wave {}, {} nodes passed",
        rollout.metadata.name,
        rollout.spec.model,
        rollout.spec.version,
        status.phase,
        wave(rollout),
        passed(rollout)
    );
    if !status.message.is_empty() {
        line.push_str(": ");
        line.push_str(&status.message);
    }
    line
}

/// Whether the rollout has ended for the one who waits, and how.
fn end(rollout: &Resource<Rollout>, followed: &Followed) -> Option<Result<(), RolloutEnd>> {
    let name = || rollout.metadata.name.clone();
    match (rollout.status.phase, followed) {
        // The deployment names its newer rollout at the next look.
        (RolloutPhase::Progressing, _) | (RolloutPhase::Superseded, Followed::Deployment(_)) => {
            None
        }
        (RolloutPhase::Succeeded, _) => Some(Ok(())),
        (RolloutPhase::Superseded, Followed::Rollout(_)) => {
            Some(Err(RolloutEnd::Superseded(name())))
        }
        (RolloutPhase::Failed, _) => Some(Err(RolloutEnd::Failed {
            name: name(),
            message: rollout.status.message.clone(),
            nodes: rollout.status.nodes.iter().filter_map(failed).collect(),
        })),
    }
}

fn failed(node: &RolloutNodeStatus) -> Option<String> {
    match node.verdict {
        Verdict::Fail => Some(format!("{}: {}", node.node, node.message)),
        Verdict::Pass | Verdict::Inconclusive => None,
    }
}
