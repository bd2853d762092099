//! The command line. Each command's arguments stand beside its code, in [`crate::commands`].

use clap::{Parser, Subcommand};

use crate::commands::apply::ApplyArgs;
use crate::commands::completion::CompletionArgs;
use crate::commands::delete::DeleteArgs;
use crate::commands::events::EventsArgs;
use crate::commands::get::{DescribeArgs, GetArgs};
use crate::commands::hard_examples::HardExamplesCommand;
use crate::commands::login::LoginArgs;
use crate::commands::model::ModelCommand;
use crate::commands::node::NodeCommand;
use crate::commands::rollout::RolloutCommand;
use crate::commands::summaries::SummariesArgs;
use crate::commands::token::TokenCommand;
use crate::exit;

const EXAMPLES: &str = "\
Examples:
  fleetctl login --cloud https://cloud.example:8443 --token-file admin.token --ca-pin sha256:...
  fleetctl apply -f site.yaml
  fleetctl token create --site leipzig --uses 5 --ttl 1h
  fleetctl model pack ./face-detector --key signing.key && fleetctl model push ./face-detector
  fleetctl apply -f deployment.yaml && fleetctl rollout status --deployment faces --timeout 5m
  fleetctl get nodes -o wide

Environment:
  FLEETCTL_CONFIG   file of contexts (default ~/.config/millwright/fleetctl.yaml)
  FLEETCTL_CLOUD    address of cloudcore, overrides the context
  FLEETCTL_CA_PIN   pin of its root, overrides the context
  FLEETCTL_TOKEN    API token, overrides the context
  NO_COLOR          respected: nothing is ever coloured
";

/// Manage a fleet of edge devices that run AI models.
#[derive(Debug, Parser)]
#[command(name = "fleetctl", version, after_help = format!("{EXAMPLES}\n{}", exit::TABLE))]
pub(crate) struct Cli {
    /// Use this saved login instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Save how to reach a cloudcore, after trying it
    Login(LoginArgs),
    /// List objects of a kind, or show one
    Get(GetArgs),
    /// Show all about one object, with its events
    Describe(DescribeArgs),
    /// Create or update objects from YAML or JSON documents
    Apply(ApplyArgs),
    /// Delete an object
    Delete(DeleteArgs),
    /// Make keys, sign and publish model packages
    #[command(subcommand)]
    Model(ModelCommand),
    /// Watch and list rollouts
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Manage the tokens that let devices enroll
    #[command(subcommand)]
    Token(TokenCommand),
    /// Take a node out of the fleet, or decide about one that is ahead of the cloud
    #[command(subcommand)]
    Node(NodeCommand),
    /// List and fetch inputs that models found hard, from a node whose owner allows it
    #[command(subcommand)]
    HardExamples(HardExamplesCommand),
    /// Show what happened
    Events(EventsArgs),
    /// Show what the models did: requests, errors, latency
    Summaries(SummariesArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every command that does something, with the words that lead to it.
    fn leaves(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
        let mut found = Vec::new();
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            if below.has_subcommands() {
                found.extend(leaves(below, &path));
            } else {
                found.push((path, below.clone()));
            }
        }
        found
    }

    #[test]
    fn every_command_shows_examples_that_parse() {
        Cli::command().debug_assert();
        for (path, command) in leaves(&Cli::command(), "fleetctl") {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples: Vec<&str> = help
                .lines()
                .map(str::trim)
                .filter(|line| line.contains("fleetctl "))
                .collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let example = &example[example.find("fleetctl ").unwrap_or(0)..];
                let end = example
                    .find(&[')', '|', '>', '<', '#'][..])
                    .unwrap_or(example.len());
                let words = example[..end].split_whitespace();
                let parsed = Cli::try_parse_from(words);
                assert!(
                    parsed.is_ok(),
                    "{path}: `{example}`: {}",
                    parsed.unwrap_err()
                );
            }
        }
    }
}
