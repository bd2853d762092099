//! The desired state of one node and its generations.
//!
//! A generation is a complete, immutable document. The next number is one above both what the cloud
//! stored and what the node reported, so that no number ever comes back with other content; it is
//! taken only when the content changes. A node that is *ahead of the cloud* (after a restore of an old
//! backup) is left alone until an operator decides: a restore must never be a silent mass rollback.
//! Knows nothing of how a document becomes bytes.

use std::collections::BTreeMap;

use millwright_proto::Digest;
use millwright_proto::ids::{Generation, ModelName, NodeName, PipelineName, Version};

use crate::fleet::{Memory, Node};

/// Annotation of a Node by which an operator makes it follow the cloud again; `fleetctl node reassert`
/// sets it. Its value is the generation the node reports, so that it cannot overrule a later report by
/// accident.
pub const REASSERT_ANNOTATION: &str = "millwright/reassert";

/// Annotation of a Node by which an operator makes the cloud follow the node: what it reports becomes its
/// desired state. `fleetctl node adopt` sets it. Its value is as that of [`REASSERT_ANNOTATION`].
pub const ADOPT_ANNOTATION: &str = "millwright/adopt";

/// How far a node may be ahead and still be overruled. A generation a second for 11 days is far more
/// than any backup is old; a node that claims more would use the numbers up.
pub const GENERATION_JUMP_MAX: u64 = 1_000_000;

/// What one node shall run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// One per model.
    pub slots: BTreeMap<ModelName, Slot>,
    /// Pipelines, by what stands for their documents.
    pub pipelines: BTreeMap<PipelineName, Digest>,
    /// Length of a summary window in milliseconds; 0 leaves it to the node.
    pub summary_window_ms: u32,
}

/// One model a node shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which version.
    pub version: Version,
    /// Stands for its files and signature.
    pub package: Digest,
    /// How long the replaced worker stays warm, in milliseconds.
    pub prove_for_ms: u32,
    /// Whether the replaced worker may end first where both do not fit into memory.
    pub gap: Gap,
    /// Set when an operator adopted the version from the node: the generation of the deployment whose
    /// nodes the node was among, or [`NO_DEPLOYMENT`]. The slot stays as it is until that deployment
    /// says something new, or until one takes the node that had none: what the restored deployments
    /// still say is older than what was adopted.
    pub adopted: Option<u64>,
}

/// What happens on a node whose memory does not hold both versions of a model at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    /// The change waits, and the version before it serves on.
    #[default]
    Refused,
    /// The version before it ends first.
    Allowed,
}

/// In [`Slot::adopted`]: no deployment had the node. Generations of deployments begin with 1.
pub const NO_DEPLOYMENT: u64 = 0;

/// A desired state as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Its number.
    pub generation: Generation,
    /// Of the document's bytes.
    pub digest: Digest,
    /// What it says.
    pub content: Content,
    /// Since which generation each slot says what it says: a report about that or a later one is evidence.
    pub since: BTreeMap<ModelName, Generation>,
}

impl Desired {
    /// The generations that the slots of the next content began with, when it gets `generation`.
    #[must_use]
    pub fn since(
        stored: Option<&Self>,
        content: &Content,
        generation: Generation,
    ) -> BTreeMap<ModelName, Generation> {
        let begun = |model: &ModelName, slot: &Slot| {
            let stored = stored?;
            let same = stored.content.slots.get(model) == Some(slot);
            same.then(|| stored.since.get(model).copied()).flatten()
        };
        let slots = content.slots.iter();
        slots
            .map(|(model, slot)| (model.clone(), begun(model, slot).unwrap_or(generation)))
            .collect()
    }

    /// Whether a report about `applied` is about the slot of `model` as it is now.
    #[must_use]
    pub fn is_spoken_of(&self, model: &ModelName, applied: (Generation, Digest)) -> bool {
        let (generation, digest) = applied;
        let since = self.since.get(model).copied().unwrap_or(self.generation);
        let known = generation < self.generation
            || (generation == self.generation && digest == self.digest);
        since <= generation && known
    }
}

/// How a node's generation relates to the cloud's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The node works on what the cloud stored, on something older, or on nothing. It is planned for.
    Level {
        /// The number new content gets.
        next: Generation,
    },
    /// The node is ahead, and an operator decided that the cloud is right: the next plan writes a
    /// generation above the node's even if the content is the stored one, and the node is level again.
    Reasserted {
        /// The number the cloud's content gets.
        next: Generation,
    },
    /// The node is ahead, and an operator decided that the node is right: the next plan writes what the
    /// node reports under a generation above the node's, and the node is level again.
    Adopted {
        /// The number the node's content gets.
        next: Generation,
    },
    /// The node has what this cloud never stored. Nothing is planned until an operator decides.
    Ahead {
        /// What the cloud stored.
        stored: Generation,
        /// What the node reported.
        reported: Generation,
    },
    /// An older backup was restored, and the node was not heard since. Nothing is planned until it says
    /// Hello: the numbers it would get may be those it works on already, with other content, and then
    /// nobody could tell any more that it is ahead.
    Unheard,
    /// As [`Standing::Ahead`], but so far that following it would use the numbers up. It ends when the
    /// node is enrolled again.
    OutOfReach {
        /// What the node reported.
        reported: Generation,
    },
}

impl Standing {
    /// How `node` stands.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        if node.memory == Memory::Restored {
            return Self::Unheard;
        }
        let stored = node.desired.as_ref();
        let number = stored.map_or(Generation::NONE, |desired| desired.generation);
        let Some((reported, digest)) = node.report.applied else {
            return Self::Level {
                next: number.next(),
            };
        };
        let same_content = stored.is_some_and(|desired| desired.digest == digest);
        if reported < number || (reported == number && same_content) {
            return Self::Level {
                next: number.next(),
            };
        }
        if reported.get() - number.get() > GENERATION_JUMP_MAX {
            return Self::OutOfReach { reported };
        }
        if node.adopt == Some(reported) {
            return Self::Adopted {
                next: reported.next(),
            };
        }
        if node.reassert == Some(reported) {
            return Self::Reasserted {
                next: reported.next(),
            };
        }
        Self::Ahead {
            stored: number,
            reported,
        }
    }

    /// The number new content gets; `None` while nothing is planned for the node.
    #[must_use]
    pub fn next(self) -> Option<Generation> {
        match self {
            Self::Level { next } | Self::Reasserted { next } | Self::Adopted { next } => Some(next),
            Self::Ahead { .. } | Self::Unheard | Self::OutOfReach { .. } => None,
        }
    }

    /// What an operator has to decide before anything is planned for `node`, as reason and message.
    #[must_use]
    pub fn hold(self, node: &NodeName) -> Option<(&'static str, String)> {
        match self {
            Self::Level { .. } | Self::Unheard | Self::Reasserted { .. } | Self::Adopted { .. } => {
                None
            }
            Self::Ahead { stored, reported } => Some((
                "GenerationNotStored",
                format!(
                    "the node works on generation {reported}, which this cloud (at {stored}) never stored, \
                     probably because an older backup was restored; the node keeps what it has. Either take \
                     over what it runs: `fleetctl node adopt {node}`. Or make the deployments say what it \
                     shall run, then: `fleetctl node reassert {node}`. Both take --all"
                ),
            )),
            Self::OutOfReach { reported } => Some((
                "GenerationOutOfReach",
                format!(
                    "the node claims generation {reported}, more than {GENERATION_JUMP_MAX} ahead of this \
                     cloud; the node keeps what it has. Decommission Node/{node} and enroll it again"
                ),
            )),
        }
    }
}
