//! `fleetctl delete`.

use std::io::Write;

use clap::Args;

use super::{DryRunArgs, mode_note};
use crate::client::Client;
use crate::kinds::{KindName, with_kind};

/// Arguments of `delete`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fleetctl delete deployment faces
  fleetctl delete site leipzig --dry-run")]
pub(crate) struct DeleteArgs {
    /// What kind of object
    #[arg(value_enum, ignore_case = true)]
    kind: KindName,
    /// Its name
    name: String,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(super) async fn run(
    args: DeleteArgs,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mode = args.dry_run.mode();
    let kind = with_kind!(args.kind, K, {
        client.delete::<K>(&args.name, mode).await?;
        <K as fleet_api::Kind>::KIND
    });
    writeln!(out, "{kind}/{} deleted{}", args.name, mode_note(mode))?;
    Ok(())
}
