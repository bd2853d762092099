//! Tortures the agent's stores, and the agent with them: kills, corruption, failing disks, power cuts; and every
//! decoder of what comes from outside.
//!
//! Every subcommand draws from one seed, prints it first, tells how far it is on standard error, and
//! ends with one line of JSON; it fails when a promise was broken.

mod agent;
mod child;
mod cloud;
mod corruption;
mod driver;
mod faults;
mod fuzz;
mod kills;
mod message;
mod power;
mod readback;
mod record;
mod recorder;
mod report;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Breaks the agent's stores in every way a plant does, and counts what they promised and kept.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    torture: Torture,
    /// Repeats a run: what is done is drawn from it; when it happens is up to the clock.
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Torture {
    /// kill -9 of a process that records into an outbox.
    Kills(kills::Kills),
    /// Damage to closed stores: bits, sectors, lengths.
    Corruption(corruption::Corruption),
    /// Power cuts: what was not yet synced is lost, whole or in parts.
    Power(power::Power),
    /// Failing and full disks.
    Faults(faults::Faults),
    /// Decoders fed with changed bytes.
    Fuzz(fuzz::Fuzz),
    /// kill -9 of a real agent with a real cloudcore.
    AgentKills(agent::AgentKills),
    /// Failing syncs under a real agent: inference does not notice.
    AgentFaults(agent::AgentFaults),
    /// What the other tortures start: records what it is told.
    #[command(hide = true)]
    Recorder(recorder::Recording),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    match arguments.torture {
        Torture::Kills(kills) => kills::run(&kills, seed)?.tell(),
        Torture::Corruption(corruption) => match corruption::run(&corruption, seed)? {
            Some(outcome) => outcome.tell(),
            None => Ok(()),
        },
        Torture::Power(power) => power::run(&power, seed)?.tell(),
        Torture::Faults(faults) => faults::run(&faults, seed)?.tell(),
        Torture::Fuzz(fuzz) => fuzz::run(&fuzz, seed)?.tell(),
        Torture::AgentKills(kills) => agent::kills(&kills, seed)?.tell(),
        Torture::AgentFaults(faults) => agent::faults(&faults, seed)?.tell(),
        Torture::Recorder(recording) => recorder::run(&recording),
    }
}
