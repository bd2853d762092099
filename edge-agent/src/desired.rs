//! The desired state in force: received, judged, kept in two files, read as what is to run.
//!
//! ```text
//! ReceivedDesired ─> judge (edge-core) ─> read the document ─> desired.a, desired.b ─> in force
//! ```
//!
//! Persist, then act: a generation is in force only once both files hold it, so after any crash
//! the node acts on the same or the next one, never an older. At start the higher valid file wins
//! and the other is repaired. Both damaged: the node has no desired state until the next session,
//! says so, and goes on with what it served last. Refusing changes nothing, and so does a disk that
//! lets nothing be repaired.

mod document;
mod record;

use std::path::PathBuf;

use bytes::Bytes;
use edge_core::desired::{Offer, Refusal, Verdict, judge};
use millwright_proto::Digest;
use millwright_proto::ids::Generation;
use thiserror::Error;

use crate::data_dir::{DataDirError, Layout, READABLE, read_if_present, replace_file};

pub(crate) use document::list_digest;
pub use document::{DocumentError, Package, PackageSource, Plan, Replacing};
use record::Record;

/// Why a desired state is not adopted.
#[derive(Debug, Error)]
pub enum DesiredError {
    /// It may not replace the one in force.
    #[error("desired generation {generation} is refused")]
    Refused {
        /// Its number.
        generation: Generation,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// It cannot be read.
    #[error("desired generation {generation} cannot be read")]
    Document {
        /// Its number.
        generation: Generation,
        /// Why not.
        #[source]
        source: DocumentError,
    },
    /// It cannot be stored.
    #[error("desired generation {generation} cannot be stored")]
    Store {
        /// Its number.
        generation: Generation,
        /// Why not.
        #[source]
        source: DataDirError,
    },
}

/// What became of an offered desired state.
#[derive(Debug)]
pub enum Adoption {
    /// It is in force now.
    Adopted,
    /// It was in force already.
    Unchanged,
}

/// The desired state in force and its two files.
#[derive(Debug)]
pub struct DesiredStore {
    paths: [PathBuf; 2],
    in_force: Option<InForce>,
}

/// A desired state in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its number.
    pub generation: Generation,
    /// The digest of its bytes.
    pub digest: Digest,
    /// What it asks for.
    pub plan: Plan,
}

/// Something the store noticed while it was opened, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl DesiredStore {
    /// Reads what the last run left, repairing a damaged or older copy from the better one. What cannot
    /// be read or repaired is among the damages.
    #[must_use]
    pub fn open(layout: &Layout) -> (Self, Vec<Damage>) {
        let paths = layout.desired();
        let mut damages = Vec::new();
        let mut best: Option<(Record, InForce)> = None;
        let mut copies = Vec::new();
        for path in &paths {
            let damage = |problem| Damage {
                path: path.clone(),
                problem,
            };
            let bytes = match read_if_present(path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    damages.push(damage(crate::control::chain(&error)));
                    None
                }
            };
            if let Some(bytes) = &bytes {
                match read_record(bytes) {
                    Ok(found) => {
                        if best
                            .as_ref()
                            .is_none_or(|(best, _)| best.generation < found.0.generation)
                        {
                            best = Some(found);
                        }
                    }
                    Err(problem) => damages.push(damage(problem)),
                }
            }
            copies.push(bytes);
        }
        if let Some((record, _)) = &best {
            let encoded = record.encode();
            for (path, copy) in paths.iter().zip(&copies) {
                if copy.as_deref() != Some(encoded.as_slice())
                    && let Err(error) = replace_file(path, &encoded, READABLE)
                {
                    let problem = crate::control::chain(&error);
                    damages.push(Damage {
                        path: path.clone(),
                        problem,
                    });
                }
            }
        }
        let in_force = best.map(|(_, in_force)| in_force);
        (Self { paths, in_force }, damages)
    }

    /// What the files say is in force, for somebody who only looks.
    #[must_use]
    pub fn peek(layout: &Layout) -> Option<InForce> {
        let copies = layout.desired().into_iter().filter_map(|path| {
            let bytes = read_if_present(&path).ok().flatten()?;
            Some(read_record(&bytes).ok()?.1)
        });
        copies.max_by_key(|copy| copy.generation)
    }

    /// What is in force.
    #[must_use]
    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// Judges an offered desired state, and puts it in force when it may be. Blocks on the disk.
    ///
    /// # Errors
    /// When it is refused, unreadable, or cannot be stored; what is in force stays.
    pub fn offer(
        &mut self,
        generation: Generation,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<Adoption, DesiredError> {
        let in_force = self
            .in_force
            .as_ref()
            .map(|current| (current.generation, current.digest));
        let offer = Offer {
            generation,
            digest,
            bytes: &bytes,
        };
        match judge(in_force, &offer) {
            Verdict::Same => return Ok(Adoption::Unchanged),
            Verdict::Refuse(source) => return Err(DesiredError::Refused { generation, source }),
            Verdict::Adopt => {}
        }
        let plan = Plan::read(bytes.clone())
            .map_err(|source| DesiredError::Document { generation, source })?;
        let record = Record {
            generation,
            digest,
            bytes,
        };
        let encoded = record.encode();
        for path in &self.paths {
            replace_file(path, &encoded, READABLE)
                .map_err(|source| DesiredError::Store { generation, source })?;
        }
        self.in_force = Some(InForce {
            generation,
            digest,
            plan,
        });
        Ok(Adoption::Adopted)
    }
}

fn read_record(bytes: &[u8]) -> Result<(Record, InForce), String> {
    let record = Record::decode(bytes).map_err(|error| error.to_string())?;
    let plan = Plan::read(record.bytes.clone()).map_err(|error| error.to_string())?;
    let in_force = InForce {
        generation: record.generation,
        digest: record.digest,
        plan,
    };
    Ok((record, in_force))
}

#[cfg(test)]
mod tests;
