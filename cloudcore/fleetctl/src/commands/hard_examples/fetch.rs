//! `fleetctl hard-examples fetch`: each file is written whole or not at all, the description last.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fleet_api::{HARD_EXAMPLES_FETCHED_MAX, HardExample, HardExamplePiece, HardExampleRef};
use indicatif::ProgressBar;
use millwright_proto::Digest;
use millwright_proto::hard_example::{FILE_BYTES_MAX, is_name_of};
use tempfile::NamedTempFile;
use thiserror::Error;

use super::{FetchArgs, all};
use crate::client::{Arrival, Client, ClientError};
use crate::exit::Exit;
use crate::output::bytes;
use crate::output::progress::transfer;

/// Why files did not come, beside refusals of cloudcore and of the node.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// The list does not have what was asked for.
    #[error(
        "{node} has no hard example `{id}`: it gave way to newer ones, or never was; `fleetctl hard-examples list {node}` shows what there is"
    )]
    Unknown { node: String, id: String },
    /// They were listed, and were gone when their turn came.
    #[error("{} of the examples did not come, the others are in {directory}: {}", .missing.len(), .missing.join("; "))]
    Missing {
        directory: PathBuf,
        missing: Vec<String>,
    },
    /// What came is not what was announced.
    #[error("{file} did not come as it was announced ({what}): run the same command again")]
    Damaged { file: String, what: &'static str },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

impl FetchError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unknown { .. } | Self::Missing { .. } => Exit::NotFound,
            Self::Damaged { .. } | Self::Write { .. } => Exit::Failed,
        }
    }
}

pub(super) async fn run(
    args: &FetchArgs,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut listed = all(client, &args.node, args.pipeline.as_ref()).await?;
    for id in &args.ids {
        if !listed.iter().any(|example| example.id == *id) {
            return Err(FetchError::Unknown {
                node: args.node.clone(),
                id: id.clone(),
            }
            .into());
        }
    }
    listed.retain(|example| args.ids.is_empty() || args.ids.contains(&example.id));
    let found = listed.len();
    listed.retain(|example| !is_there(&args.out, example));
    let mut fetch = Fetch {
        directory: &args.out,
        progress: transfer(listed.iter().map(|example| example.bytes).sum()),
        fetched: (0, 0),
        missing: Vec::new(),
    };
    for examples in listed.chunks(HARD_EXAMPLES_FETCHED_MAX) {
        let refs = examples.iter().map(|example| HardExampleRef {
            pipeline: example.pipeline.clone(),
            id: example.id.clone(),
        });
        let mut arrival = client
            .fetch_hard_examples(&args.node, refs.collect())
            .await?;
        fetch.take(&mut arrival, examples).await?;
    }
    fetch.progress.finish_and_clear();
    writeln!(
        out,
        "Fetched {} files ({}) into {}; {} of {found} examples were there already",
        fetch.fetched.0,
        bytes(fetch.fetched.1),
        args.out.display(),
        found - listed.len(),
    )?;
    if fetch.missing.is_empty() {
        return Ok(());
    }
    Err(FetchError::Missing {
        directory: args.out.clone(),
        missing: fetch.missing,
    }
    .into())
}

/// Whether both files lie in `directory`. The description is written last, so that the data are whole when it is there;
/// they are looked at all the same.
fn is_there(directory: &Path, example: &HardExample) -> bool {
    // What cannot be a name is not looked for; it does not pass when it comes either.
    if !is_name_of(&example.file, &example.id) || !is_plain(&example.pipeline) {
        return false;
    }
    let directory = directory.join(&example.pipeline);
    let described = directory.join(format!("{}.json", example.id)).is_file();
    let data = directory.join(&example.file);
    let length = fs::metadata(&data).map(|facts| facts.len());
    described
        && length.is_ok_and(|length| length == example.bytes)
        && fs::read(&data).is_ok_and(|data| crc32c::crc32c(&data) == example.crc32c)
}

fn is_plain(pipeline: &str) -> bool {
    pipeline
        .parse::<millwright_proto::ids::PipelineName>()
        .is_ok()
}

struct Fetch<'a> {
    directory: &'a Path,
    progress: ProgressBar,
    /// Files and bytes.
    fetched: (u64, u64),
    missing: Vec<String>,
}

/// A file that is coming.
struct Incoming {
    path: PathBuf,
    file: NamedTempFile,
    bytes: u64,
    digest: Digest,
    content: Vec<u8>,
}

impl Fetch<'_> {
    /// Takes one answer to its end.
    async fn take(&mut self, arrival: &mut Arrival, wanted: &[HardExample]) -> anyhow::Result<()> {
        let mut incoming: Option<Incoming> = None;
        loop {
            let piece = arrival.next().await?;
            match piece {
                HardExamplePiece::Chunk { bytes } => {
                    let chunk = arrival.chunk(bytes).await?;
                    let file = incoming
                        .as_mut()
                        .ok_or_else(|| damaged("a chunk", "of no file"))?;
                    file.content.extend_from_slice(&chunk);
                    if file.content.len() as u64 > file.bytes {
                        return Err(damaged(&file.path.display().to_string(), "too long").into());
                    }
                    self.progress.inc(bytes);
                    if file.is_whole() {
                        self.finish(incoming.take())?;
                    }
                }
                HardExamplePiece::File {
                    pipeline,
                    id,
                    name,
                    bytes,
                    digest,
                } => {
                    self.finish(incoming.take())?;
                    let asked = wanted
                        .iter()
                        .any(|one| one.pipeline == pipeline && one.id == id);
                    let known = asked && is_plain(&pipeline) && is_name_of(&name, &id);
                    if !known || bytes > FILE_BYTES_MAX {
                        return Err(damaged(&id, "nobody asked for it").into());
                    }
                    let digest = digest.parse().map_err(|_| damaged(&name, "no digest"))?;
                    self.progress.set_message(name.clone());
                    let directory = self.directory.join(pipeline);
                    incoming = Some(Incoming::begin(&directory, &name, bytes, digest)?);
                }
                HardExamplePiece::Missing {
                    pipeline,
                    id,
                    reason,
                } => {
                    // What has come of a file so far is not kept.
                    incoming = None;
                    self.missing.push(format!("{pipeline}/{id}: {reason}"));
                }
                HardExamplePiece::Done { .. } => return Ok(self.finish(incoming.take())?),
                HardExamplePiece::Failed(problem) => {
                    return Err(ClientError::Refused(Box::new(problem)).into());
                }
            }
        }
    }

    /// Puts a file in its place, when it is the one that was announced.
    fn finish(&mut self, incoming: Option<Incoming>) -> Result<(), FetchError> {
        let Some(incoming) = incoming else {
            return Ok(());
        };
        let bytes = incoming.bytes;
        incoming.keep()?;
        self.fetched.0 += 1;
        self.fetched.1 += bytes;
        Ok(())
    }
}

impl Incoming {
    fn begin(directory: &Path, name: &str, bytes: u64, digest: Digest) -> Result<Self, FetchError> {
        let failed = |source| FetchError::Write {
            path: directory.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        Ok(Self {
            path: directory.join(name),
            file: NamedTempFile::new_in(directory).map_err(failed)?,
            bytes,
            digest,
            content: Vec::new(),
        })
    }

    fn is_whole(&self) -> bool {
        self.content.len() as u64 == self.bytes
    }

    fn keep(mut self) -> Result<(), FetchError> {
        let name = self.path.display().to_string();
        if !self.is_whole() {
            return Err(damaged(&name, "too short"));
        }
        if Digest::of(&self.content) != self.digest {
            return Err(damaged(&name, "another digest"));
        }
        let failed = |source| FetchError::Write {
            path: self.path.clone(),
            source,
        };
        self.file.write_all(&self.content).map_err(failed)?;
        self.file.as_file().sync_all().map_err(failed)?;
        let kept = self.file.persist(&self.path);
        kept.map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn damaged(file: &str, what: &'static str) -> FetchError {
    FetchError::Damaged {
        file: file.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests;
