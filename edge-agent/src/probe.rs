//! `edge-agent model describe` and `edge-agent model probe`: a model tried out for whoever packs it.
//!
//! ```text
//! describe FILE ─▶ worker opens it ─▶ what it declares, one line of JSON
//! probe DIR     ─▶ worker opens the package, golden sets are run ─▶ Ready; then an answer for each line on stdin
//! ```
//!
//! Everything runs where it will run on a node: in the same sandboxed worker, with the limits of the manifest. Owns the
//! conversation of [`millwright_package::probe`]; knows neither what a package is made of nor how it is signed. What
//! cannot be done is told as `Refused` on standard output and as the exit code; standard error is for what nobody
//! expected.

mod asked;
mod describe;

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use millwright_package::probe::{Ask, GoldenDifference, Ready, Told};
use millwright_package::{MANIFEST_FILE, Manifest};

use crate::config::{ModelCommand, ModelProbeArguments};
use crate::executor::runtime::Runtime;
use crate::worker::{Worker, WorkerHost, WorkerSettings, WorkerSpec};

/// Longest line of an ask: two paths and a name.
const ASK_BYTES_MAX: u64 = 64 * 1024;

/// Runs the command.
///
/// # Errors
/// When the conversation itself fails; what the model does wrong is told in it.
pub async fn run(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Describe(arguments) => {
            let (host, _) = host(arguments.onnxruntime)?;
            let described = describe::describe(&host, &arguments.file).await?;
            say(&described)
        }
        ModelCommand::Probe(arguments) => probe(arguments).await,
    }
}

async fn probe(arguments: ModelProbeArguments) -> anyhow::Result<()> {
    let (worker, ready) = open(&arguments).await?;
    say(&Told::Ready(ready))?;
    let mut asks = std::io::stdin().lock();
    let mut line = String::new();
    loop {
        line.clear();
        let mut bounded = std::io::Read::take(&mut asks, ASK_BYTES_MAX);
        if bounded.read_line(&mut line).context("reading an ask")? == 0 {
            return Ok(());
        }
        let ask: Ask = serde_json::from_str(&line).context("an ask is not understood")?;
        let told = asked::answer(&worker, ask).await;
        say(&told.unwrap_or_else(|message| Told::Refused { message }))?;
    }
}

/// The worker with the package open and proven.
async fn open(arguments: &ModelProbeArguments) -> anyhow::Result<(Arc<Worker>, Ready)> {
    // Workers have another working directory.
    let directory = std::path::absolute(&arguments.directory)?;
    let path = directory.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let manifest = Manifest::parse(&text, &path.display().to_string())?;
    let (host, onnxruntime) = host(arguments.onnxruntime.clone())?;
    let spec = WorkerSpec {
        model: manifest.model_version(),
        directory,
        manifest: Arc::new(manifest),
    };
    let begin = Instant::now();
    let worker = host.spawn(spec).await?;
    let load_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let memory_bytes = worker.memory_bytes();
    let report = worker.run_golden().await?;
    let golden = report.tensors.into_iter().map(|tensor| GoldenDifference {
        file: tensor.file,
        output: tensor.output,
        max_absolute: tensor.max_absolute,
    });
    let footing = worker.footing();
    let ready = Ready {
        provider: footing.computing.provider,
        onnxruntime,
        load_ms,
        memory_bytes,
        sandbox_gaps: footing.gaps.iter().map(ToString::to_string).collect(),
        golden: golden.collect(),
    };
    Ok((worker, ready))
}

/// What starts workers, and with which library.
fn host(onnxruntime: Option<std::path::PathBuf>) -> anyhow::Result<(WorkerHost, String)> {
    let mut runtime = Runtime::find(onnxruntime, WorkerSettings::default());
    let host = runtime
        .host()
        .map_err(|failure| anyhow::Error::msg(failure.message))?;
    let library = runtime.library().map(Path::display).map(|p| p.to_string());
    Ok((host, library.unwrap_or_default()))
}

fn say<T: serde::Serialize>(told: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, told).context("telling the result")?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
