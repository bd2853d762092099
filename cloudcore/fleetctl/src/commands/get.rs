//! `fleetctl get` and `fleetctl describe`.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::events::newest;
use crate::client::{Client, Filter, SummaryFilter};
use crate::kinds::{KindName, with_kind};
use crate::output::{self, Format, OutputArgs};
use crate::view::{self, View};

/// Events that `describe` shows: what fits a screen beside the rest.
const EVENTS_SHOWN: usize = 20;

/// How far back `describe node` looks at what was measured: long enough for a verdict on drift at a row every few seconds.
const MEASURED_SINCE: Duration = Duration::from_secs(3600);

/// Arguments of `get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Kinds may be given in the plural, the singular or short: nodes, node, modeldeployments, deployment, mv ...

Examples:
  fleetctl get nodes
  fleetctl get nodes -l line=press,stage!=test -o wide
  fleetctl get rollouts --field-selector spec.deployment=faces
  fleetctl get deployment faces -o yaml > faces.yaml
  fleetctl get --raw /api/v1/audit")]
pub(crate) struct GetArgs {
    /// What kind of object
    #[arg(value_enum, ignore_case = true, required_unless_present = "raw")]
    kind: Option<KindName>,
    /// Only the one with this name
    name: Option<String>,
    /// Print the answer to a path of the API as it comes, for example /api/v1/audit
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kind", "labels", "fields", "output"])]
    raw: Option<String>,
    /// Only objects with these labels: line=press,stage!=test,zone in (a, b),!spare
    #[arg(
        short = 'l',
        long = "selector",
        value_name = "LABELS",
        conflicts_with = "name"
    )]
    labels: Option<String>,
    /// Only objects with these fields: spec.site=leipzig
    #[arg(
        long = "field-selector",
        value_name = "FIELDS",
        conflicts_with = "name"
    )]
    fields: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `describe`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fleetctl describe node press-1
  fleetctl describe rollout faces-2")]
pub(crate) struct DescribeArgs {
    /// What kind of object
    #[arg(value_enum, ignore_case = true)]
    kind: KindName,
    /// Its name
    name: String,
}

pub(super) async fn run(
    args: GetArgs,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    let format = args.output.output;
    let filter = Filter {
        labels: args.labels,
        fields: args.fields,
    };
    if let Some(path) = args.raw {
        out.write_all(&client.raw(&path).await?)?;
        writeln!(out)?;
        return Ok(());
    }
    let kind = args.kind.context("name a kind, or a path with --raw")?;
    with_kind!(kind, K, {
        match args.name {
            Some(name) => output::object(out, format, client.get::<K>(&name).await?, now),
            None => list::<K>(&filter, format, client, out, now).await,
        }
    })
}

/// Prints a list, and says so on stderr when a person would look at an empty table.
pub(super) async fn list<K: View>(
    filter: &Filter,
    format: Format,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    let items = client.list::<K>(filter).await?;
    if items.is_empty() && matches!(format, Format::Table | Format::Wide) {
        eprintln!("No {} found", K::PLURAL);
        return Ok(());
    }
    output::list(out, format, items, now)
}

pub(super) async fn describe(
    args: DescribeArgs,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    let page = with_kind!(args.kind, K, {
        let object = client.get::<K>(&args.name).await?;
        let regarding = format!("{}/{}", <K as fleet_api::Kind>::KIND, args.name);
        let events = newest(client, regarding, EVENTS_SHOWN).await?;
        view::describe(&object, &events, now)
    });
    let mut page = page;
    if matches!(args.kind, KindName::Node) {
        let filter = SummaryFilter {
            node: Some(args.name),
            since: now.checked_sub(MEASURED_SINCE).ok(),
            ..SummaryFilter::default()
        };
        view::measured(&mut page, &client.summaries(&filter).await?);
    }
    write!(out, "{page}")?;
    Ok(())
}
