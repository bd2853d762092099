//! `fleetctl node`.

use std::io::Write;

use clap::{Args, Subcommand};
use fleet_api::{ConditionStatus, Node, Resource};

use super::{DryRunArgs, mode_note};
use crate::client::{Client, Filter};

#[cfg(test)]
mod tests;

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
    /// Take over what a node ahead of this cloud runs as its desired state
    #[command(after_help = "\
After an older backup was restored, nodes may work on a desired state that this cloud never stored
(condition AheadOfCloud). They keep what they have until somebody decides. Adopting changes nothing
on the node: the next generation says what it runs, until a deployment says something new.

Examples:
  fleetctl node adopt press-1
  fleetctl node adopt --all --dry-run
  fleetctl node adopt --all")]
    Adopt(AheadArgs),
    /// Make a node ahead of this cloud run what the deployments say
    #[command(after_help = "\
The other decision about a node with the condition AheadOfCloud: the cloud is right. The node gets the
cloud's content under a generation above its own, which may move its models back. Check the deployments
first.

Examples:
  fleetctl node reassert press-1
  fleetctl node reassert --all --dry-run")]
    Reassert(AheadArgs),
}

/// Which node.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Name of the node
    name: String,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Which nodes that are ahead of this cloud.
#[derive(Args, Debug)]
pub(crate) struct AheadArgs {
    /// Name of the node
    #[arg(required_unless_present = "all")]
    name: Option<String>,
    /// Every node that is ahead of this cloud
    #[arg(long, conflicts_with = "name")]
    all: bool,
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
        NodeCommand::Adopt(args) => return decide(args, client, out, "adopt", "adopted").await,
        NodeCommand::Reassert(args) => {
            return decide(args, client, out, "reassert", "reasserted").await;
        }
    };
    let mode = args.dry_run.mode();
    client.act::<Node>(&args.name, action, mode).await?;
    writeln!(out, "Node/{} {done}{}", args.name, mode_note(mode))?;
    Ok(())
}

/// Decides about one node, or about every node that is ahead; one that cannot be decided about does not
/// keep the others from it.
async fn decide(
    args: AheadArgs,
    client: &Client,
    out: &mut dyn Write,
    action: &str,
    done: &str,
) -> anyhow::Result<()> {
    let mode = args.dry_run.mode();
    let names = match args.name {
        Some(name) => vec![name],
        None => ahead(client).await?,
    };
    if names.is_empty() {
        writeln!(out, "No node is ahead of this cloud")?;
    }
    let mut failed = None;
    for name in names {
        match client.act::<Node>(&name, action, mode).await {
            Ok(()) => writeln!(out, "Node/{name} {done}{}", mode_note(mode))?,
            Err(error) => {
                if args.all {
                    writeln!(out, "Node/{name} not {done}: {error}")?;
                }
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Names of the nodes whose condition AheadOfCloud holds.
async fn ahead(client: &Client) -> anyhow::Result<Vec<String>> {
    let nodes = client.list::<Node>(&Filter::default()).await?;
    let is_ahead = |node: &Resource<Node>| {
        let mut conditions = node.status.conditions.iter();
        conditions
            .any(|told| told.kind == "AheadOfCloud" && matches!(told.status, ConditionStatus::True))
    };
    let ahead = nodes.into_iter().filter(is_ahead);
    Ok(ahead.map(|node| node.metadata.name).collect())
}
