//! `edge-agent`: arguments, configuration, run.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use edge_agent::config::{
    Arguments, Command, EnrollArguments, LogFormat, PipelineCommand, RunArguments, RunConfig,
};
use edge_agent::{app, enroll, hard_examples, hold, pipeline, probe, status, worker};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Threads of the runtime: the agent waits more than it computes, and inference runs in the workers.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        // Before any thread: the worker confines its only one.
        Command::Worker => return worker::entry::run(),
        Command::Enroll(enroll) => {
            log(arguments.log_format, &arguments.log).and_then(|()| block_on(enroll_node(enroll)))
        }
        // These are for people at a terminal: what they say goes to standard output, not to a log.
        Command::Status(arguments) => return ended(status::ask::run(arguments)),
        Command::Hold(arguments) => hold::ask(arguments).map(|told| println!("{told}")),
        Command::Pipeline(PipelineCommand::Check(arguments)) => {
            pipeline::check::run(&arguments).map(|told| println!("{told}"))
        }
        Command::Model(command) => block_on(probe::run(command)),
        Command::HardExamples(arguments) => {
            hard_examples::ask::run(arguments).map(|told| println!("{told}"))
        }
        Command::Run(run) => {
            log(arguments.log_format, &arguments.log).and_then(|()| block_on(run_agent(*run)))
        }
    };
    ended(outcome.map(|()| ExitCode::SUCCESS))
}

fn ended(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn enroll_node(arguments: EnrollArguments) -> anyhow::Result<()> {
    let node = enroll::enroll(&arguments).await?;
    println!("enrolled as node {} of site {}", node.node, node.site);
    if arguments.trust_keys.is_empty() {
        eprintln!(
            "note: no --trust-key given: no model package will be accepted until a public key is in {}",
            arguments.node.data_dir()?.join("trust").display()
        );
    }
    Ok(())
}

async fn run_agent(arguments: RunArguments) -> anyhow::Result<()> {
    let config = RunConfig::resolve(arguments)?;
    Ok(app::run(config).await?)
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the agent's threads")?
        .block_on(work)
}

fn log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter: Targets = filter.parse().with_context(|| {
        format!("--log `{filter}` is not a filter: write info or edge_agent::link=debug")
    })?;
    let ansi = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(ansi)
        .with_writer(std::io::stderr);
    let log = tracing_subscriber::registry();
    match format {
        LogFormat::Text => log.with(lines.with_filter(filter)).init(),
        LogFormat::Json => log.with(lines.json().with_filter(filter)).init(),
    }
    Ok(())
}
