//! `fleetctl events`.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use fleet_api::{Event, EventList};
use jiff::Timestamp;

use crate::client::{Client, EventFilter};
use crate::output::{self, Format, OutputArgs, table};
use crate::view::{EVENT_COLUMNS, event_cells};

/// How often `--follow` asks for more: soon enough for a person, little enough for the server.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `events`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fleetctl events --tail 50
  fleetctl events --follow --regarding Node/press-1
  fleetctl events -o json | jq .items[].reason")]
pub(crate) struct EventsArgs {
    /// Keep printing what happens, until interrupted
    #[arg(short = 'f', long)]
    follow: bool,
    /// Only events about this object, as Kind/name
    #[arg(long, value_name = "KIND/NAME", value_parser = regarding)]
    regarding: Option<String>,
    /// Only the newest ones
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    tail: usize,
    #[command(flatten)]
    output: OutputArgs,
}

fn regarding(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err(format!(
            "`{text}` is not of the form Kind/name, as in Node/press-1"
        )),
    }
}

pub(super) async fn run(
    args: EventsArgs,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut filter = EventFilter {
        after: 0,
        regarding: args.regarding,
    };
    let events = read_newest(client, &mut filter, args.tail).await?;
    let format = args.output.output;
    match (args.follow, format) {
        (false, Format::Table | Format::Wide) if events.is_empty() => {
            eprintln!("No events found");
            return Ok(());
        }
        (false, format) => return print(out, format, &events, now),
        // One object a line from the beginning, so that a reader need not wait for an end.
        (true, Format::Json) => print_rows(out, format, &events, now)?,
        (true, format) => print(out, format, &events, now)?,
    }
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        match client.events(&filter).await {
            Ok(events) => {
                filter.after = events.last().map_or(filter.after, |event| event.id);
                // Without a header, as if the table went on.
                print_rows(out, format, &events, Timestamp::now())?;
            }
            Err(error) if error.is_passing() => eprintln!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The newest `count` events about one object, oldest first.
pub(super) async fn newest(
    client: &Client,
    regarding: String,
    count: usize,
) -> anyhow::Result<Vec<Event>> {
    let mut filter = EventFilter {
        after: 0,
        regarding: Some(regarding),
    };
    read_newest(client, &mut filter, count).await
}

/// Reads to the end, page by page, and leaves `filter` there.
async fn read_newest(
    client: &Client,
    filter: &mut EventFilter,
    count: usize,
) -> anyhow::Result<Vec<Event>> {
    let mut kept = VecDeque::new();
    loop {
        let page = client.events(filter).await?;
        let Some(last) = page.last() else {
            return Ok(kept.into());
        };
        filter.after = last.id;
        kept.extend(page);
        kept.drain(..kept.len().saturating_sub(count));
    }
}

fn print(
    out: &mut dyn Write,
    format: Format,
    events: &[Event],
    now: Timestamp,
) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Wide => {
            let rows = events
                .iter()
                .map(|event| event_cells(event, now).to_vec())
                .collect();
            write!(out, "{}", table(&EVENT_COLUMNS, rows, format))?;
            Ok(())
        }
        Format::Json => output::json(
            out,
            &EventList {
                items: events.to_vec(),
            },
        ),
        Format::Yaml | Format::Name => print_rows(out, format, events, now),
    }
}

fn print_rows(
    out: &mut dyn Write,
    format: Format,
    events: &[Event],
    now: Timestamp,
) -> anyhow::Result<()> {
    for event in events {
        match format {
            Format::Table | Format::Wide => {
                let cells = event_cells(event, now);
                writeln!(out, "{}", cells[1..].join("   "))?;
            }
            Format::Json => writeln!(out, "{}", serde_json::to_string(event)?)?,
            Format::Yaml => {
                writeln!(out, "---")?;
                output::yaml(out, event)?;
            }
            Format::Name => writeln!(out, "{}", event.regarding)?,
        }
    }
    out.flush()?;
    Ok(())
}
