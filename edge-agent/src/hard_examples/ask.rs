//! `edge-agent hard-examples`: what lies here, and copies of it. Reads the directory; no agent has to run.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use millwright_proto::ids::PipelineName;

use super::{Example, data_name, description, list, read};
use crate::config::{HardExampleArguments, HardExampleCommand, OutputFormat};
use crate::data_dir::Layout;

/// Runs the command; returns what it tells.
///
/// # Errors
/// When examples cannot be read or copied.
pub fn run(arguments: HardExampleArguments) -> anyhow::Result<String> {
    let data_dir = arguments.node.data_dir()?;
    let root = Layout::at(&data_dir).hard_examples();
    let of = |examples: Vec<Example>, pipeline: &Option<PipelineName>| -> Vec<Example> {
        let wanted = |example: &Example| {
            pipeline
                .as_ref()
                .is_none_or(|name| example.pipeline == *name)
        };
        examples.into_iter().filter(wanted).collect()
    };
    match arguments.command {
        HardExampleCommand::List { pipeline, output } => {
            let examples = of(list(&root)?, &pipeline);
            match output {
                OutputFormat::Json => Ok(serde_json::to_string_pretty(&examples)?),
                OutputFormat::Text => Ok(table(&examples)),
            }
        }
        HardExampleCommand::Export { to, pipeline } => {
            export(&root, &of(list(&root)?, &pipeline), &to)
        }
    }
}

fn table(examples: &[Example]) -> String {
    if examples.is_empty() {
        return "No hard examples are kept here.".to_owned();
    }
    let mut text = format!(
        "{:<16} {:<24} {:<14} {:<10} {:>9}  MODEL",
        "PIPELINE", "ID", "REASON", "CONFIDENCE", "BYTES"
    );
    for example in examples {
        let confidence = example
            .confidence
            .map_or("-".to_owned(), |c| format!("{c:.3}"));
        let reason = format!("{:?}", example.reason);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{:<16} {:<24} {reason:<14} {confidence:<10} {:>9}  {}",
            example.pipeline.as_str(),
            example.id,
            example.bytes,
            example.model
        );
    }
    text
}

/// Copies examples with their descriptions; damaged ones are named and left out.
fn export(root: &Path, examples: &[Example], to: &Path) -> anyhow::Result<String> {
    ensure!(!examples.is_empty(), "no hard examples are kept here");
    let mut copied = 0;
    let mut damaged = Vec::new();
    for example in examples {
        let directory = to.join(example.pipeline.as_str());
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let (example, data) = match read(root, &example.pipeline, &example.id) {
            Ok(whole) => whole,
            Err(error) => {
                damaged.push(format!("{error:#}"));
                continue;
            }
        };
        let (name, text) = description(&example);
        for (path, bytes) in [
            (directory.join(data_name(&example)), data),
            (directory.join(name), text),
        ] {
            std::fs::write(&path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        copied += 1;
    }
    let mut text = format!("{copied} hard examples are in {}", to.display());
    for problem in damaged {
        let _ = write!(text, "\nleft out: {problem}");
    }
    Ok(text)
}
