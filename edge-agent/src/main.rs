//! `edge-agent`: arguments, configuration, run.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use edge_agent::config::{Arguments, Command, EnrollArguments, LogFormat, RunArguments, RunConfig};
use edge_agent::{app, enroll, worker};
use tracing_subscriber::EnvFilter;

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
        Command::Run(run) => {
            log(arguments.log_format, &arguments.log).and_then(|()| block_on(run_agent(*run)))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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
            arguments.data_dir.join("trust").display()
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
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("--log `{filter}` is not a filter: write info or edge_agent::link=debug")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
