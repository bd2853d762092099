//! What a person does at the box: `edge-agent status`, `edge-agent hold`.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::program;

/// Runs `edge-agent` with `arguments` on a data directory, whatever comes out of it.
///
/// # Errors
/// When it cannot be started.
pub fn at_the_box(data_directory: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(program("edge-agent")?)
        .args(arguments)
        .arg("--data-dir")
        .arg(data_directory)
        .output()
        .context("starting edge-agent")
}

/// Runs it and returns its standard output.
///
/// # Errors
/// When it fails, with what it said.
pub fn at_the_box_ok(data_directory: &Path, arguments: &[&str]) -> Result<String> {
    let output = at_the_box(data_directory, arguments)?;
    ensure!(
        output.status.success(),
        "edge-agent {} ended with {}:\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What `edge-agent status -o json` tells of a running agent.
///
/// # Errors
/// When it fails.
pub fn status(data_directory: &Path) -> Result<Value> {
    let text = at_the_box_ok(data_directory, &["status", "-o", "json"])?;
    serde_json::from_str(&text).context("reading the status")
}

/// The processes that hold the models of an agent.
///
/// # Errors
/// When the agent has ended.
pub fn workers(agent: u32) -> Result<Vec<i32>> {
    let mut workers = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{agent}/task")).context("listing the threads")? {
        let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            workers.push(child.parse().context("reading a process id")?);
        }
    }
    Ok(workers)
}
