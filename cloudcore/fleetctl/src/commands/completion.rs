//! `fleetctl completion`.

use std::io::Write;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;

/// Arguments of `completion`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  source <(fleetctl completion bash)
  fleetctl completion zsh > ~/.zfunc/_fleetctl")]
pub(crate) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: CompletionArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleetctl", &mut script);
    out.write_all(&script)?;
    Ok(())
}
