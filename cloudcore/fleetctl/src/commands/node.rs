//! `fleetctl node`.

use std::io::Write;

use clap::{Args, Subcommand};
use fleet_api::Node;

use super::{DryRunArgs, mode_note};
use crate::client::Client;

/// Commands about nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Refuse a node's certificate and keys at once, for example after theft
    #[command(after_help = "\
The name stays taken until the node is decommissioned.

Examples:
  fleetctl node revoke press-1")]
    Revoke(NodeArgs),
    /// Take a node out of service and free its name
    #[command(after_help = "\
Examples:
  fleetctl node decommission press-1")]
    Decommission(NodeArgs),
}

/// Which node.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Name of the node
    name: String,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(super) async fn run(
    command: NodeCommand,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (args, action, done) = match command {
        NodeCommand::Revoke(args) => (args, "revoke", "revoked"),
        NodeCommand::Decommission(args) => (args, "decommission", "decommissioned"),
    };
    let mode = args.dry_run.mode();
    client.act::<Node>(&args.name, action, mode).await?;
    writeln!(out, "Node/{} {done}{}", args.name, mode_note(mode))?;
    Ok(())
}
