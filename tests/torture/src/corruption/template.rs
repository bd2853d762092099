//! Small stores as an agent leaves them, copied and damaged by every case.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use edge_agent::data_dir::Layout;
use edge_agent::desired::DesiredStore;
use edge_agent::store::{Outbox, OutboxLimits, StateStore};
use millwright_proto::Digest;
use millwright_proto::ids::Generation;
use millwright_proto::link::DesiredDocument;
use prost::Message;

use crate::cloud::Cloud;
use crate::message::LineageBytes;
use crate::record::{self, Token};
use crate::recorder::{hello, named, offer, welcome};

/// Records appended one by one before the last session, and after it.
const SENT: Token = 30;
const UNSENT: Token = 30;

/// One record is long enough to lie in a file of its own.
const LONG: Token = 498;

/// Keys of the state store, and how often each is written.
const KEYS: u64 = 6;
const ROUNDS: u64 = 3;

/// Desired states adopted, one after the other.
const GENERATIONS: u64 = 2;

/// What lies in the template, beside the bytes.
pub(crate) struct Template {
    /// Its files.
    pub(crate) directory: PathBuf,
    /// What was promised, and counted so far.
    pub(crate) cloud: Cloud,
    /// The outbox.
    pub(crate) lineage: LineageBytes,
    /// What each key of the state store holds.
    pub(crate) state: Vec<(String, Option<Bytes>)>,
    /// The desired state in force.
    pub(crate) desired: (Generation, Digest),
}

/// A part of the template that is opened on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `outbox/`
    Outbox,
    /// `state/`
    State,
    /// `desired.a` and `desired.b`
    Desired,
}

impl Part {
    /// Its names in the data directory.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Outbox => &["outbox"],
            Self::State => &["state"],
            Self::Desired => &["desired.a", "desired.b"],
        }
    }
}

impl Template {
    /// Makes it in `directory`.
    ///
    /// # Errors
    /// When a sound store fails.
    pub(crate) async fn make(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).context("making the template")?;
        let (cloud, lineage) = outbox(directory).await?;
        Ok(Self {
            directory: directory.to_owned(),
            cloud,
            lineage,
            state: state(directory).await?,
            desired: desired(directory)?,
        })
    }

    /// Copies `part` to `directory` and lists its files.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub(crate) fn copy(&self, part: Part, directory: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(directory).context("making a case")?;
        let mut files = Vec::new();
        for name in part.names() {
            copy(&self.directory, directory, Path::new(name), &mut files)?;
        }
        files.sort();
        Ok(files)
    }
}

/// Copies `name` from one directory to another, and lists the files copied.
///
/// # Errors
/// When a file cannot be copied.
pub(crate) fn copy(from: &Path, to: &Path, name: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let source = from.join(name);
    if !source.is_dir() {
        fs::copy(&source, to.join(name))
            .with_context(|| format!("copying {}", source.display()))?;
        files.push(name.to_owned());
        return Ok(());
    }
    fs::create_dir_all(to.join(name)).context("making a directory")?;
    for entry in fs::read_dir(&source).context("listing a directory")? {
        let entry = entry.context("listing a directory")?;
        copy(from, to, &name.join(entry.file_name()), files)?;
    }
    Ok(())
}

async fn outbox(directory: &Path) -> Result<(Cloud, LineageBytes)> {
    let limits = OutboxLimits {
        free_bytes_min: 0,
        ..OutboxLimits::default()
    };
    let (outbox, notes) = Outbox::open(directory.join("outbox"), limits).await?;
    ensure!(
        notes.is_empty(),
        "a fresh outbox has something to say: {notes:?}"
    );
    let mut cloud = Cloud::default();
    let lineage = hello(&outbox).await?.lineage;
    for token in 1..=SENT {
        append(&outbox, &mut cloud, token).await?;
    }
    welcome(&outbox, &cloud.watermarks(lineage)).await?;
    // Offered, and the last of it never answered.
    let sent = offer(&outbox, usize::try_from(SENT).context("a small number")?).await?;
    cloud.receive(lineage, &sent[..sent.len() - 5]);
    for (stream, through) in cloud.watermarks(lineage) {
        outbox.acknowledge(named(stream), through).await?;
    }
    for token in (SENT + 1..=SENT + UNSENT).chain([LONG]) {
        append(&outbox, &mut cloud, token).await?;
    }
    outbox.close().await;
    Ok((cloud, lineage))
}

async fn append(outbox: &Outbox, cloud: &mut Cloud, token: Token) -> Result<()> {
    let payload = Bytes::from(record::payload(token));
    let place = outbox.append(record::stream(token), payload).await?;
    cloud.promise(token, *place.lineage.as_bytes(), place.sequence);
    Ok(())
}

async fn state(directory: &Path) -> Result<Vec<(String, Option<Bytes>)>> {
    let (store, _) = StateStore::open(directory.join("state")).await?;
    let mut values = Vec::new();
    for round in 1..=ROUNDS {
        for key in 0..KEYS {
            store.put(&format!("key-{key}"), value(key, round)).await?;
        }
    }
    for key in 0..KEYS {
        values.push((format!("key-{key}"), Some(value(key, ROUNDS))));
    }
    store.remove("key-0").await?;
    values[0].1 = None;
    Ok(values)
}

fn value(key: u64, round: u64) -> Bytes {
    Bytes::from(record::payload(key * 100 + round))
}

fn desired(directory: &Path) -> Result<(Generation, Digest)> {
    let (mut store, _) = DesiredStore::open(&Layout::at(directory));
    for generation in 1..=GENERATIONS {
        let document = DesiredDocument {
            pipelines: Vec::new(),
            models: Vec::new(),
            summary_window_ms: u32::try_from(generation * 1_000).context("a small number")?,
        };
        let bytes = Bytes::from(document.encode_to_vec());
        store.offer(Generation::new(generation), Digest::of(&bytes), bytes)?;
    }
    let in_force = store
        .in_force()
        .context("the desired state was not adopted")?;
    Ok((in_force.generation, in_force.digest))
}
