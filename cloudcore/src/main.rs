//! Millwright's central service: `cloudcore serve`, `backup`, `restore` and `ca`.

mod api;
mod app;
mod auth;
mod backup;
mod ca;
mod config;
mod enroll;
mod health;
mod https;
mod hub;
mod pki;
mod registry;
mod renew;
mod revocations;
mod serve;
mod signals;
mod spelling;
mod store;
mod tasks;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use ca::CaCommand;
use config::{Config, LogFormat, ServeFlags};

/// Millwright's central service
#[derive(Parser)]
#[command(name = "cloudcore", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service; with no configuration it makes everything it needs under --data-dir
    Serve(Box<ServeFlags>),
    /// Copy a data directory, also while it is served
    Backup {
        /// Directory to copy
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// New directory of the backup; it will hold private keys
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a data directory out of a backup
    Restore {
        /// The backup
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// New data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// File `revocations` of the data directory that is replaced: nodes that were revoked after the
        /// backup stay revoked
        #[arg(long, value_name = "FILE")]
        revocations: Option<PathBuf>,
    },
    /// Look at the certificate authority, and rotate it
    #[command(subcommand)]
    Ca(CaCommand),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("cloudcore: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    match command {
        Command::Ca(command) => {
            let now = jiff::Timestamp::now();
            print!("{}", runtime.block_on(ca::run(command, now))?);
            Ok(())
        }
        Command::Serve(flags) => {
            let config = Config::read(&flags)?;
            log(&config)?;
            runtime.block_on(async {
                let ending = ending()?;
                Ok(serve::serve(config, ending).await?)
            })
        }
        Command::Backup { data_dir, to } => {
            runtime.block_on(backup::backup(&data_dir, &to))?;
            eprintln!(
                "cloudcore: {} is backed up to {}",
                data_dir.display(),
                to.display()
            );
            Ok(())
        }
        Command::Restore {
            from,
            data_dir,
            revocations,
        } => {
            let revocations = revocations.as_deref();
            runtime.block_on(backup::restore(&from, &data_dir, revocations))?;
            if revocations.is_none() {
                eprintln!(
                    "cloudcore: nodes that were revoked after the backup may connect again; if the replaced data directory is still there, restore with --revocations <it>/{}",
                    crate::revocations::FILE_NAME
                );
            }
            eprintln!(
                "cloudcore: {} is restored to {}; nodes that are ahead of it keep what they run until `fleetctl node adopt` or `fleetctl node reassert`",
                from.display(),
                data_dir.display()
            );
            Ok(())
        }
    }
}

/// Sends log lines to standard error.
fn log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("--log `{}` is no filter, for example info", config.log))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// Resolves when somebody asks the process to end.
fn ending() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
