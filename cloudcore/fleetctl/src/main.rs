//! `fleetctl`: Millwright's command line.
//!
//! Speaks only the public API of cloudcore, over HTTPS to a server known by the pin of its root.
//! Data goes to stdout, notes and progress to stderr; every failure has a documented exit code
//! ([`exit::Exit`]) and says what to do next. Keeps no state but the contexts that `login` saves.
//!
//! ```text
//! cli -> commands/* -> client (HTTP) -> cloudcore
//!            |  \
//!            |   package (a package directory: read, check) <- pack (made of an ONNX file, with the help of edge-agent)
//!            v
//!          output (table, wide, json, yaml, name) <- view/* (columns and details per kind)
//! ```
//!
//! Documents are read completely and checked before the first of them is sent.

mod cli;
mod client;
mod commands;
mod context;
mod exit;
mod kinds;
mod output;
mod pack;
mod package;
mod private_file;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    match result {
        Ok(()) => Exit::Done.into(),
        Err(error) if exit::is_closed_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: {}", exit::in_full(&error));
            Exit::of(&error).into()
        }
    }
}
