//! `edge-agent pipeline check`: whether a file is right, and what its pipelines will do.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use millwright_package::{MANIFEST_FILE, Manifest, Profile};

use super::files;
use super::prepare::{self, Taker};
use crate::config::PipelineCheckArguments;
use crate::telemetry::baseline;

/// Runs the command; returns what it tells.
///
/// # Errors
/// When a file is not right, or does not fit the model.
pub fn run(arguments: &PipelineCheckArguments) -> anyhow::Result<String> {
    let package = arguments.model.as_deref().map(package).transpose()?;
    let mut told = String::new();
    for pipeline in files::read(&arguments.files)? {
        // Writing to a string does not fail.
        let _ = writeln!(told, "{} is right. What it will do:", pipeline.name());
        for sentence in pipeline.sentences() {
            let _ = writeln!(told, "  * {sentence}");
        }
        if let Some((manifest, profile)) = &package {
            ensure!(
                pipeline.spec.model == manifest.model,
                "pipeline `{}` is for model `{}`, and the package holds `{}`",
                pipeline.name(),
                pipeline.spec.model,
                manifest.model
            );
            let profile = profile.as_deref();
            prepare::fits(&pipeline, Taker { manifest, profile }).with_context(|| {
                format!("pipeline `{}` does not fit its model", pipeline.name())
            })?;
            let _ = writeln!(told, "  * It fits {}.", manifest.model_version());
        }
    }
    ensure!(!told.is_empty(), "there is no pipeline in these files");
    Ok(told.trim_end().to_owned())
}

fn package(package: &Path) -> anyhow::Result<(Manifest, Option<Arc<Profile>>)> {
    let path = package.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let manifest = Manifest::parse(&text, &path.display().to_string())?;
    let profile = baseline::load(package, &manifest)?;
    Ok((manifest, profile))
}
