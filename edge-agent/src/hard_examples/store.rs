//! Examples of one pipeline on disk: written whole or not at all, within a quota.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use millwright_proto::ids::{ModelVersion, PipelineName};

use super::{Example, HardExampleError, Reason};
use crate::data_dir::{PRIVATE, make_private_dir, replace_file};

/// Largest description that is read: a result has at most a thousand boxes.
const DESCRIPTION_BYTES_MAX: u64 = 1024 * 1024;

/// An example that is to be kept.
#[derive(Debug)]
pub struct New<'a> {
    /// Who answered.
    pub model: &'a ModelVersion,
    /// Why it is kept.
    pub reason: Reason,
    /// How sure the model was.
    pub confidence: Option<f64>,
    /// Ending of the data file.
    pub form: &'static str,
    /// What the model saw, private parts covered.
    pub data: &'a [u8],
    /// The result as it was sent.
    pub result: serde_json::Value,
}

/// Examples of one pipeline. One per directory at a time.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    pipeline: PipelineName,
    quota_bytes: u64,
    /// What lies there, the oldest first: id, form and bytes with the description.
    kept: VecDeque<(String, String, u64)>,
    used_bytes: u64,
    number: u64,
}

impl Store {
    /// Opens the examples of `pipeline` below `root`, sweeps what a crash left, and drops what is over the quota.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(
        root: &Path,
        pipeline: &PipelineName,
        quota_bytes: u64,
    ) -> Result<Self, HardExampleError> {
        let directory = root.join(pipeline.as_str());
        make_private_dir(root).map_err(|source| fault("make", root, source))?;
        make_private_dir(&directory).map_err(|source| fault("make", &directory, source))?;
        let examples = examples(&directory, pipeline)?;
        sweep(&directory, &examples)?;
        let mut store = Self {
            number: examples
                .iter()
                .filter_map(|e| number(&e.id))
                .max()
                .unwrap_or(0),
            pipeline: pipeline.clone(),
            quota_bytes,
            kept: VecDeque::new(),
            used_bytes: 0,
            directory,
        };
        for example in examples {
            let description = store.directory.join(format!("{}.json", example.id));
            let length = fs::metadata(&description).map_or(0, |facts| facts.len());
            store.enter(example.id, example.form, example.bytes + length);
        }
        store.make_room(0)?;
        Ok(store)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Keeps an example; the oldest give way. Returns once it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written, or is larger than the quota by itself.
    pub fn keep(&mut self, new: New<'_>, now_ms: u64) -> Result<Example, HardExampleError> {
        let number = self.number + 1;
        let example = Example {
            id: format!("{now_ms:013}-{number:08}"),
            pipeline: self.pipeline.clone(),
            model: new.model.clone(),
            reason: new.reason,
            kept_ms: now_ms,
            confidence: new.confidence,
            form: new.form.to_owned(),
            bytes: new.data.len() as u64,
            crc32c: crc32c::crc32c(new.data),
            result: new.result,
        };
        let description = serde_json::to_vec(&example).expect("an example has a JSON form");
        let bytes = example.bytes + description.len() as u64;
        if bytes > self.quota_bytes {
            let quota = self.quota_bytes;
            return Err(HardExampleError::TooLarge { bytes, quota });
        }
        self.make_room(bytes)?;
        let write = |path: &Path, bytes: &[u8]| {
            replace_file(path, bytes, PRIVATE)
                .map_err(|error| fault("write", path, std::io::Error::other(error)))
        };
        self.number = number;
        write(&data_path(&self.directory, &example), new.data)?;
        let path = self.directory.join(format!("{}.json", example.id));
        write(&path, &description)?;
        self.enter(example.id.clone(), example.form.clone(), bytes);
        Ok(example)
    }

    fn enter(&mut self, id: String, form: String, bytes: u64) {
        self.used_bytes += bytes;
        self.kept.push_back((id, form, bytes));
    }

    /// Drops the oldest until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) -> Result<(), HardExampleError> {
        while self.used_bytes + bytes > self.quota_bytes {
            let Some((id, form, freed)) = self.kept.pop_front() else {
                break;
            };
            // The description first: without it the example does not exist any more.
            for name in [format!("{id}.json"), data_name(&id, &form)] {
                remove(&self.directory.join(name))?;
            }
            self.used_bytes -= freed;
        }
        Ok(())
    }
}

/// Directories of pipelines below `root`; none when that is not there.
pub(super) fn pipelines(root: &Path) -> Result<Vec<(PathBuf, PipelineName)>, HardExampleError> {
    let mut found = Vec::new();
    for entry in entries(root)? {
        if let Ok(pipeline) = entry.1.parse::<PipelineName>() {
            found.push((entry.0, pipeline));
        }
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(found)
}

/// Whole examples of a directory, the oldest first.
pub(super) fn examples(
    directory: &Path,
    pipeline: &PipelineName,
) -> Result<Vec<Example>, HardExampleError> {
    let mut found = Vec::new();
    for (_, name) in entries(directory)? {
        if let Some(id) = name.strip_suffix(".json") {
            found.extend(example(directory, pipeline, id));
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// One whole example; `id` may be anything.
pub(super) fn example(directory: &Path, pipeline: &PipelineName, id: &str) -> Option<Example> {
    // Two numbers are no way out of the directory.
    number(id)?;
    let path = directory.join(format!("{id}.json"));
    let facts = fs::metadata(&path).ok()?;
    let bytes = (facts.len() <= DESCRIPTION_BYTES_MAX).then(|| fs::read(&path).ok())??;
    let example = serde_json::from_slice::<Example>(&bytes).ok()?;
    let length = fs::metadata(data_path(directory, &example)).ok()?.len();
    let whole = example.id == id && example.pipeline == *pipeline && length == example.bytes;
    whole.then_some(example)
}

pub(super) fn data_path(directory: &Path, example: &Example) -> PathBuf {
    directory.join(data_name(&example.id, &example.form))
}

/// Data that are JSON themselves must not be taken for a description.
pub(super) fn data_name(id: &str, form: &str) -> String {
    match form {
        "jpg" => format!("{id}.jpg"),
        "json" => format!("{id}.input.json"),
        _ => format!("{id}.bin"),
    }
}

/// The running number of an id: `<milliseconds>-<number>`.
fn number(id: &str) -> Option<u64> {
    let (milliseconds, number) = id.split_once('-')?;
    milliseconds.parse::<u64>().ok()?;
    number.parse().ok()
}

/// Removes what belongs to no example: a crash left it.
fn sweep(directory: &Path, examples: &[Example]) -> Result<(), HardExampleError> {
    let known: std::collections::BTreeSet<String> = examples
        .iter()
        .flat_map(|e| [format!("{}.json", e.id), data_name(&e.id, &e.form)])
        .collect();
    for (path, name) in entries(directory)? {
        if !known.contains(&name) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<(PathBuf, String)>, HardExampleError> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fault("read", directory, source)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|source| fault("read", directory, source))?;
        if let Some(name) = entry.file_name().to_str() {
            found.push((entry.path(), name.to_owned()));
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), HardExampleError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(fault("remove", path, source)),
    }
}

fn fault(operation: &'static str, path: &Path, source: std::io::Error) -> HardExampleError {
    HardExampleError::File {
        operation,
        path: path.to_owned(),
        source,
    }
}
