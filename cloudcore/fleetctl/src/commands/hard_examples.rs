//! `fleetctl hard-examples`: inputs that models found hard, from a node whose owner allows it.

mod fetch;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fleet_api::{HardExample, HardExampleList};
use millwright_proto::ids::PipelineName;

pub(crate) use self::fetch::FetchError;
use crate::client::{Client, ClientError};
use crate::output::{self, Column, Format, OutputArgs, bytes, table};

/// Pages of a list that are read: with 1000 examples each more than any quota holds.
const PAGES_MAX: usize = 1000;

const COLUMNS: &[Column] = &[
    Column::Always("PIPELINE"),
    Column::Always("ID"),
    Column::Always("REASON"),
    Column::Always("CONFIDENCE"),
    Column::Always("SIZE"),
    Column::Always("KEPT"),
    Column::Wide("MODEL"),
    Column::Wide("FILE"),
];

/// Commands about hard examples.
#[derive(Debug, Subcommand)]
pub(crate) enum HardExamplesCommand {
    /// List what a node has kept; audited
    #[command(after_help = "\
The node must be connected, and its owner must allow it: `cloud: {hardExamples: allowed}` in its edge-agent.yaml.

Examples:
  fleetctl hard-examples list press-1
  fleetctl hard-examples list press-1 --pipeline gate -o json")]
    List(ListArgs),
    /// Copy files of hard examples from a node into a directory; audited
    #[command(after_help = "\
Each example becomes two files in DIR/<pipeline>: what the model saw, and why it was kept. What is there already is
not fetched again, so that the same command goes on where it was interrupted.

Examples:
  fleetctl hard-examples fetch press-1 --out examples
  fleetctl hard-examples fetch press-1 --pipeline gate --id 1790000000000-00000001 --out examples")]
    Fetch(FetchArgs),
}

/// Arguments of `hard-examples list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Name of the node
    node: String,
    /// Only of this pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: Option<PipelineName>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `hard-examples fetch`.
#[derive(Args, Debug)]
pub(crate) struct FetchArgs {
    /// Name of the node
    node: String,
    /// Only of this pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: Option<PipelineName>,
    /// Only the example with this id; may be given several times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Where to put them; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) async fn run(
    command: HardExamplesCommand,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        HardExamplesCommand::List(args) => {
            let items = all(client, &args.node, args.pipeline.as_ref()).await?;
            print(out, args.output.output, &args.node, items)
        }
        HardExamplesCommand::Fetch(args) => fetch::run(&args, client, out).await,
    }
}

/// Every example of a node, page by page.
async fn all(
    client: &Client,
    node: &str,
    pipeline: Option<&PipelineName>,
) -> Result<Vec<HardExample>, ClientError> {
    let mut items = Vec::new();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let pipeline = pipeline.map(PipelineName::as_str);
        let page = client
            .hard_examples(node, pipeline, after.as_deref())
            .await?;
        items.extend(page.items);
        after = page.continue_token;
        if after.is_none() {
            break;
        }
    }
    Ok(items)
}

fn print(
    out: &mut dyn Write,
    format: Format,
    node: &str,
    items: Vec<HardExample>,
) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Wide if items.is_empty() => {
            eprintln!("No hard examples are kept on {node}");
        }
        Format::Table | Format::Wide => {
            let rows = items.into_iter().map(cells).collect();
            write!(out, "{}", table(COLUMNS, rows, format))?;
        }
        Format::Json | Format::Yaml => {
            let list = HardExampleList {
                items,
                continue_token: None,
            };
            match format {
                Format::Yaml => output::yaml(out, &list)?,
                _ => output::json(out, &list)?,
            }
        }
        Format::Name => {
            for item in items {
                writeln!(out, "{}/{}", item.pipeline, item.id)?;
            }
        }
    }
    Ok(())
}

fn cells(item: HardExample) -> Vec<String> {
    let confidence = item.confidence.map(|c| format!("{c:.3}"));
    vec![
        item.pipeline,
        item.id,
        item.reason,
        confidence.unwrap_or_default(),
        bytes(item.bytes),
        item.kept.to_string(),
        item.model,
        item.file,
    ]
}
