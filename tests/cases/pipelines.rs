//! Pipelines over real brokers, cameras and files: what a plant engineer wires up and then trusts.

mod camera;
mod cloud;
mod files;
mod fusion;
mod hard;
mod scaled;
mod shadow;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use millwright_tests::agent::AgentOptions;
use millwright_tests::infer::InferClient;

/// A model loads in a second, a debug build on a loaded machine takes longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// Options of an agent that runs `pipeline`.
fn with_pipeline(directory: &Path, pipeline: &str) -> Result<AgentOptions> {
    let file = directory.join("pipeline.yaml");
    std::fs::write(&file, pipeline).context("writing the pipeline")?;
    Ok(AgentOptions {
        pipelines: vec![file],
        ..AgentOptions::quick()?
    })
}

/// What the page's data say of a pipeline.
async fn state(client: &InferClient, pipeline: &str) -> Result<serde_json::Value> {
    let path = format!("/pipelines/{pipeline}/state.json");
    let (status, body) = client.get(&path).await?;
    anyhow::ensure!(status == 200, "{path} answers {status}");
    serde_json::from_str(&body).context("reading the state")
}

/// Bytes of a picture of the tests.
fn picture(name: &str) -> Result<Vec<u8>> {
    let path = millwright_tests::packages::data("pictures").join(name);
    std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

/// Names in a directory; none when it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
