//! Inputs a model found hard, kept on this node's disk until somebody asks for them.
//!
//! ```text
//! <dataDir>/hard-examples/<pipeline>/<milliseconds>-<number>.jpg     what the model saw, private parts covered
//!                                    <milliseconds>-<number>.json    why it was kept; appears last
//! ```
//!
//! An example exists once its description does: data first, synced, then the description, each by a rename. So a crash
//! leaves an example or none; what it leaves of others is swept when the store is opened. The description has
//! length and checksum of the data, and an example whose data do not match is not listed. The oldest give way to new
//! ones within a quota in bytes.
//!
//! Nothing here sends anything: [`list`] and [`read`] are for `edge-agent hard-examples` ([`ask`]) and for an operator
//! of the cloud who asks for them ([`answer`]), when the owner of this box allows it; there every fetch is audited.

pub mod answer;
pub mod ask;
mod store;

use std::path::{Path, PathBuf};

use millwright_proto::ids::{ModelVersion, PipelineName};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use store::{New, Store};

/// Why an example was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The model was not sure.
    LowConfidence,
    /// A shadow said something else.
    Disagreement,
    /// Inputs or outputs of the model drift.
    Drift,
}

/// One example, as its description says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Unique within its pipeline; examples sort by age.
    pub id: String,
    /// Who kept it.
    pub pipeline: PipelineName,
    /// Who answered.
    #[serde(with = "display")]
    pub model: ModelVersion,
    /// Why it was kept.
    pub reason: Reason,
    /// When it was kept, in Unix milliseconds by the node's clock.
    pub kept_ms: u64,
    /// How sure the model was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Ending of the data file: `jpg`, `json` (rows and messages), `bin` (elements).
    pub form: String,
    /// Length of the data.
    pub bytes: u64,
    /// CRC-32C of the data.
    pub crc32c: u32,
    /// The result as it was sent.
    pub result: serde_json::Value,
}

/// Why examples cannot be kept, listed or read.
#[derive(Debug, Error)]
pub enum HardExampleError {
    /// A file could not be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is none of that name.
    #[error(
        "there is no hard example `{id}` of pipeline `{pipeline}`: `edge-agent hard-examples list` shows them"
    )]
    Unknown {
        /// The pipeline.
        pipeline: PipelineName,
        /// The id.
        id: String,
    },
    /// Its data are not those that were kept.
    #[error("hard example `{0}` is damaged on disk and cannot be given out")]
    Damaged(String),
    /// It alone is larger than the quota.
    #[error("an example of {bytes} bytes does not fit into the quota of {quota}: raise `quotaMib`")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The quota.
        quota: u64,
    },
}

/// Every whole example below `root`, the oldest first, by pipeline. Data that do not have the length their description
/// tells are left out; the checksum is looked at when one is read.
///
/// # Errors
/// When a directory that exists cannot be read.
pub fn list(root: &Path) -> Result<Vec<Example>, HardExampleError> {
    let mut examples = Vec::new();
    for (directory, pipeline) in store::pipelines(root)? {
        examples.extend(store::examples(&directory, &pipeline)?);
    }
    Ok(examples)
}

/// One example and its data.
///
/// # Errors
/// When there is none, or its data are damaged.
pub fn read(
    root: &Path,
    pipeline: &PipelineName,
    id: &str,
) -> Result<(Example, Vec<u8>), HardExampleError> {
    let directory = root.join(pipeline.as_str());
    let example = store::example(&directory, pipeline, id);
    let example = example.ok_or_else(|| HardExampleError::Unknown {
        pipeline: pipeline.clone(),
        id: id.to_owned(),
    })?;
    let path = store::data_path(&directory, &example);
    let data = std::fs::read(&path).map_err(|source| HardExampleError::File {
        operation: "read",
        path,
        source,
    })?;
    if crc32c::crc32c(&data) != example.crc32c {
        return Err(HardExampleError::Damaged(example.id));
    }
    Ok((example, data))
}

/// The file with the data, as it is given out: its name.
fn data_name(example: &Example) -> String {
    store::data_name(&example.id, &example.form)
}

/// The file with the description, as it is given out: its name and what is in it.
fn description(example: &Example) -> (String, Vec<u8>) {
    let text = serde_json::to_vec_pretty(example).expect("an example has a JSON form");
    (format!("{}.json", example.id), text)
}

/// Ids as text.
mod display {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        id: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
