//! Pipelines from files of this machine: `edge-agent run --pipeline FILE`, and `pipelines:` in edge-agent.yaml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millwright_pipeline::{Pipeline, PipelineError};
use millwright_proto::ids::PipelineName;
use thiserror::Error;

/// Most pipelines of one node: what its page shows.
pub const PIPELINES_MAX: usize = 64;

/// Why the pipelines of this machine cannot be read.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A file or directory cannot be read.
    #[error(
        "cannot read the pipeline {path}: name a file, or a directory of files ending in .yaml"
    )]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A document is none.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Two pipelines have one name.
    #[error(
        "pipeline `{name}` is in {first} and in {second}: give one of them another `metadata.name`"
    )]
    Twice {
        /// The name.
        name: PipelineName,
        /// Where it was first.
        first: String,
        /// Where it was again.
        second: String,
    },
    /// Too many.
    #[error("{0} pipelines are configured; a node runs at most {PIPELINES_MAX}")]
    TooMany(usize),
}

/// Reads every pipeline of `paths`: files, and the .yaml and .yml files of directories in the order of their names.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Pipeline>, FilesError> {
    let mut seen: BTreeMap<PipelineName, String> = BTreeMap::new();
    let mut pipelines = Vec::new();
    for path in paths {
        for file in files(path)? {
            let origin = file.display().to_string();
            for pipeline in parse(&file)? {
                let name = pipeline.name().clone();
                if let Some(first) = seen.insert(name.clone(), origin.clone()) {
                    let second = origin;
                    return Err(FilesError::Twice {
                        name,
                        first,
                        second,
                    });
                }
                pipelines.push(pipeline);
            }
        }
    }
    match pipelines.len() {
        count if count > PIPELINES_MAX => Err(FilesError::TooMany(count)),
        _ => Ok(pipelines),
    }
}

/// The pipelines of one file.
///
/// # Errors
/// When it cannot be read or holds something else.
pub fn parse(file: &Path) -> Result<Vec<Pipeline>, FilesError> {
    let text = std::fs::read_to_string(file).map_err(|source| unreadable(file, source))?;
    Ok(Pipeline::parse_all(&text, &file.display().to_string())?)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, FilesError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|source| unreadable(path, source))? {
        let file = entry.map_err(|source| unreadable(path, source))?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, source: std::io::Error) -> FilesError {
    let path = path.to_owned();
    FilesError::Read { path, source }
}
