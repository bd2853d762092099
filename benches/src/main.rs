//! Side-by-side benchmarks: ours and the named peer alternate in the same run; raw results are kept as JSON.
//!
//! [`memory`] is goal P1 (what a connected agent weighs), [`overhead`] is goal P2 (what the way to the model costs),
//! [`batching`] is goal P3 (what joining requests brings),
//! [`telemetry`] is goal P4 (what a minute of telemetry costs), [`sketch`] is goal P5 (what a sketch costs),
//! [`outbox`] is goal P6 (what durable records cost), [`fusion`] is sensor fusion at 1,000 messages a second on one core,
//! [`vision`] is what a frame costs beside its model, [`swap`] is goal P13 (what a model update costs).
//! [`results`] writes `benches/results/<name>.json`; [`peers`] starts the programs of others, [`http`] asks them and
//! ours.

mod batching;
mod fusion;
mod http;
mod memory;
mod outbox;
mod overhead;
mod peers;
mod results;
mod sketch;
mod swap;
mod telemetry;
mod vision;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the benchmarks and keeps their raw results in `benches/results`.
#[derive(Parser)]
struct Arguments {
    /// Only these; all when none is named.
    only: Vec<Bench>,
    /// Repeats of every measurement, ours and the peer's in turn.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Serves the camera page with real frames at this address: what `make page-pictures` looks at.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page: Option<std::net::SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// P1: memory of a connected agent, without and with a model.
    Memory,
    /// P2: inference overhead over a raw run of ONNX Runtime.
    Overhead,
    /// P3: dynamic batching, on and off.
    Batching,
    /// Sensor fusion over a broker at 1,000 messages a second on one core.
    Fusion,
    /// P4: the bytes of a minute of telemetry beside Prometheus remote write.
    Telemetry,
    /// P5: the quantile sketch beside two others.
    Sketch,
    /// P6: the outbox beside SQLite, redb and plain sled.
    Outbox,
    /// What a frame costs beside its model.
    Vision,
    /// P13: requests during a model update.
    Swap,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(address) = arguments.page {
        return vision::serve_page(address).await;
    }
    tokio::select! {
        done = Box::pin(run(&arguments)) => done,
        // What is dropped here ends the servers of others, which no signal of the terminal reaches.
        ended = ended() => ended,
    }
}

/// Resolves when somebody wants this program to end.
async fn ended() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    anyhow::bail!("ended by a signal; nothing is kept of the bench that ran")
}

async fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |bench| arguments.only.is_empty() || arguments.only.contains(&bench);
    if wanted(Bench::Memory) {
        memory::run(arguments.repeats).await?.keep()?;
    }
    if wanted(Bench::Overhead) {
        overhead::run(arguments.repeats).await?.keep()?;
    }
    if wanted(Bench::Batching) {
        batching::run(arguments.repeats).await?.keep()?;
    }
    if wanted(Bench::Fusion) {
        fusion::run(arguments.repeats).await?.keep()?;
    }
    if wanted(Bench::Telemetry) {
        telemetry::run(arguments.repeats).await?.keep()?;
    }
    if wanted(Bench::Sketch) {
        sketch::run(arguments.repeats)?.keep()?;
    }
    if wanted(Bench::Outbox) {
        outbox::run(arguments.repeats)?.keep()?;
    }
    if wanted(Bench::Vision) {
        vision::run(arguments.repeats)?.keep()?;
    }
    if wanted(Bench::Swap) {
        swap::run(arguments.repeats).await?.keep()?;
    }
    Ok(())
}
