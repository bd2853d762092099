//! `millwright-simulator`: ten thousand agents in one process against a real cloudcore.
//!
//! Each agent is a real session: mutual TLS over QUIC or WebSocket with a certificate of its own, the wire
//! messages, the dialling of `edge_core::link`, the ledger of `edge_core::outbox`. What an agent does not have
//! here are models and a disk. A seed fixes every random number of the agents.
//!
//! [`identity`] enrolls, [`agent`] lives, [`wire`] connects, [`storm`] kills cloudcore and measures, [`siege`] attacks
//! it, [`forged`] sends it first packets under forged addresses, [`operator`] watches through the public API.

mod agent;
mod forged;
mod identity;
mod operator;
mod siege;
mod storm;
mod tally;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::storm::{Fleet, Size, Summary};
use crate::wire::Handshakes;

/// Longest time until everybody is back after a SIGKILL.
const BACK_SECONDS_MAX: f64 = 15.0;

/// Most attempts per agent for it.
const ATTEMPTS_PER_AGENT_MAX: f64 = 1.05;

/// Ten thousand real sessions from one process.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Enroll the fleet by the real API and keep its identities for the other commands
    Enroll(FleetArguments),
    /// Connect the fleet and keep it connected for a while
    Run {
        #[command(flatten)]
        fleet: FleetArguments,
        /// How long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Connect the fleet, kill cloudcore, start it again; fails unless everybody is back in time
    Storm(FleetArguments),
    /// Connect the fleet and let strangers attack cloudcore; fails unless fleet and operator hardly notice
    Siege(FleetArguments),
    /// Send first packets of QUIC and never another; fails when more than three times their bytes come back
    Forged(FleetArguments),
}

#[derive(Args, Clone)]
struct FleetArguments {
    /// Holds cloudcore's data and the identities; used again by the next run
    #[arg(long)]
    directory: PathBuf,
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// How many of a hundred agents have no QUIC
    #[arg(long, default_value_t = 0)]
    websocket_percent: usize,
    /// Length of a summary window
    #[arg(long, default_value_t = 60)]
    window_seconds: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nobody resumes a TLS session: as after a week of one session each
    #[arg(long)]
    full_handshakes: bool,
}

impl FleetArguments {
    fn size(&self) -> Size {
        Size {
            agents: self.agents,
            websocket_percent: self.websocket_percent,
            window: Duration::from_secs(self.window_seconds),
            seed: self.seed,
            handshakes: match self.full_handshakes {
                true => Handshakes::Full,
                false => Handshakes::Resumed,
            },
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the simulation failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Enroll(arguments) => {
            std::fs::create_dir_all(&arguments.directory)?;
            let directory = &arguments.directory;
            let mut cloud = millwright_tests::cloud::Cloud::start(directory).await?;
            let began = std::time::Instant::now();
            identity::load_or_enroll(&cloud, directory, arguments.agents).await?;
            eprintln!("done in {:.1} s", began.elapsed().as_secs_f64());
            cloud.stop().await
        }
        Command::Run { fleet, seconds } => {
            let (running, _) = Fleet::start(&fleet.directory, fleet.size()).await?;
            let phase = running.all_back(running.plant.began).await?;
            println!("{}", serde_json::to_string_pretty(&phase)?);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(())
        }
        Command::Storm(arguments) => {
            let summary = storm::run(&arguments.directory, arguments.size()).await?;
            println!("{}", serde_json::to_string_pretty(&summary)?);
            judge(&summary)
        }
        Command::Siege(arguments) => {
            let siege = siege::run(&arguments.directory, arguments.size()).await?;
            println!("{}", serde_json::to_string_pretty(&siege)?);
            siege.judge()
        }
        Command::Forged(arguments) => {
            let forged = forged::run(&arguments.directory, arguments.size()).await?;
            println!("{}", serde_json::to_string_pretty(&forged)?);
            forged.judge()
        }
    }
}

/// Whether the fleet came back as it should.
fn judge(summary: &Summary) -> Result<()> {
    let (storm, during) = (&summary.storm, &summary.during);
    ensure!(
        storm.seconds <= BACK_SECONDS_MAX,
        "it took {:.1} s until everybody was back",
        storm.seconds
    );
    ensure!(
        storm.attempts_per_agent <= ATTEMPTS_PER_AGENT_MAX,
        "{:.3} attempts per agent",
        storm.attempts_per_agent
    );
    ensure!(
        during.failed == 0,
        "{} calls of the operator failed: {:?}",
        during.failed,
        during.failures
    );
    ensure!(
        during.offline_by_site_max == 0 && during.offline_by_node == 0,
        "healthy nodes were shown as offline: {} by a site, {} by themselves",
        during.offline_by_site_max,
        during.offline_by_node
    );
    ensure!(summary.fenced == 0, "{} agents were fenced", summary.fenced);
    ensure!(
        summary.connected_at_end == summary.agents,
        "{} of {} are connected at the end",
        summary.connected_at_end,
        summary.agents
    );
    Ok(())
}
