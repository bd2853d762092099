//! What each command does.

pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod get;
pub(crate) mod hard_examples;
pub(crate) mod login;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod push;
pub(crate) mod rollout;
pub(crate) mod summaries;
pub(crate) mod token;

#[cfg(test)]
mod tests;

use std::io;

use jiff::Timestamp;

use crate::cli::{Cli, Command};
use crate::client::{Client, Mode};
use crate::context::Environment;

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let environment = Environment::read();
    let context = cli.context.as_deref();
    let now = Timestamp::now();
    let connect = || -> anyhow::Result<Client> { Ok(Client::new(&environment.access(context)?)?) };
    let out = &mut io::stdout();
    match cli.command {
        Command::Login(args) => login::run(args, context, &environment).await,
        Command::Get(args) => get::run(args, &connect()?, out, now).await,
        Command::Describe(args) => get::describe(args, &connect()?, out, now).await,
        Command::Apply(args) => {
            // Documents are checked first: a slip in a file is found without a login.
            let documents = apply::read(&args.files)?;
            apply::run(&args, documents, &connect()?, out).await
        }
        Command::Delete(args) => delete::run(args, &connect()?, out).await,
        Command::Model(command) => model::run(command, connect, out, now).await,
        Command::Rollout(command) => rollout::run(command, &connect()?, out, now).await,
        Command::Token(command) => token::run(command, &connect()?, out, now).await,
        Command::Node(command) => node::run(command, &connect()?, out).await,
        Command::HardExamples(command) => hard_examples::run(command, &connect()?, out).await,
        Command::Events(args) => events::run(args, &connect()?, out, now).await,
        Command::Summaries(args) => summaries::run(args, &connect()?, out, now).await,
        Command::Completion(args) => completion::run(args, out),
    }
}

/// `--dry-run`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct DryRunArgs {
    /// Let cloudcore check it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl DryRunArgs {
    /// What the flag asks for.
    fn mode(self) -> Mode {
        if self.dry_run { Mode::DryRun } else { Mode::Do }
    }
}

/// What is appended to a line about something that was only checked.
fn mode_note(mode: Mode) -> &'static str {
    match mode {
        Mode::Do => "",
        Mode::DryRun => " (dry run)",
    }
}

/// Reads a duration such as `90s`, `10m` or `1h30m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 90s, 10m or 1h30m");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    std::time::Duration::try_from(parsed).map_err(|_| wrong())
}
