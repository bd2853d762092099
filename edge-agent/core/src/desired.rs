//! What the cloud wants of this node, and which received document may replace the one in force.
//!
//! Owns the rule that a desired generation never goes backwards ([`judge`]). It knows neither how
//! a document is encoded nor where it is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use millwright_proto::Digest;
use millwright_proto::ids::{Generation, ModelName};

use crate::models::PackageId;

/// The complete desired state of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Its number; [`Generation::NONE`] before the first one.
    pub generation: Generation,
    /// One entry per model that is to run here.
    pub slots: BTreeMap<ModelName, DesiredSlot>,
}

/// One model that is to run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSlot {
    /// The package.
    pub package: PackageId,
    /// How long the version it replaces stays warm.
    pub prove_for: Duration,
    /// Whether the version it replaces may end first.
    pub gap: Gap,
}

/// What happens when both versions of a swap do not fit into memory at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    /// The swap waits, and the version before it serves on.
    #[default]
    Refused,
    /// The version before it ends first; nobody answers until the new one is loaded.
    Allowed,
}

impl Desired {
    /// Whether `package` is the wanted one of its model.
    #[must_use]
    pub fn wants(&self, package: &PackageId) -> bool {
        self.slots
            .get(&package.version.model)
            .is_some_and(|slot| slot.package == *package)
    }
}

/// A document as received or stored: its number, the digest it was announced with, its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Its number.
    pub generation: Generation,
    /// What its bytes should hash to.
    pub digest: Digest,
    /// The document.
    pub bytes: &'a [u8],
}

/// What to do with an [`Offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Newer than what is in force: persist it, then act on it.
    Adopt,
    /// Already in force.
    Same,
    /// Refused; what is in force stays.
    Refuse(Refusal),
}

/// Why an [`Offer`] is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are damaged or not what was announced.
    #[error("its bytes hash to {actual}, announced was {announced}")]
    Digest {
        /// As announced.
        announced: Digest,
        /// As computed.
        actual: Digest,
    },
    /// An older generation than the one in force.
    #[error("generation {offered} is older than {in_force}, which is in force")]
    Older {
        /// Generation offered.
        offered: Generation,
        /// Generation in force.
        in_force: Generation,
    },
    /// The generation in force, with other content.
    #[error("generation {generation} is in force with another content ({in_force})")]
    Conflict {
        /// The generation.
        generation: Generation,
        /// Digest of the content in force.
        in_force: Digest,
    },
}

/// Judges `offer` against the generation and digest in force.
#[must_use]
pub fn judge(in_force: Option<(Generation, Digest)>, offer: &Offer<'_>) -> Verdict {
    let actual = Digest::of(offer.bytes);
    if actual != offer.digest {
        return Verdict::Refuse(Refusal::Digest {
            announced: offer.digest,
            actual,
        });
    }
    let (generation, digest) = match in_force {
        None => return Verdict::Adopt,
        Some(current) => current,
    };
    if offer.generation < generation {
        Verdict::Refuse(Refusal::Older {
            offered: offer.generation,
            in_force: generation,
        })
    } else if offer.generation > generation {
        Verdict::Adopt
    } else if offer.digest == digest {
        Verdict::Same
    } else {
        Verdict::Refuse(Refusal::Conflict {
            generation,
            in_force: digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(generation: u64, bytes: &[u8]) -> Offer<'_> {
        Offer {
            generation: Generation::new(generation),
            digest: Digest::of(bytes),
            bytes,
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut damaged = offer(9, b"document");
        damaged.bytes = b"dokument";
        assert!(matches!(
            judge(None, &damaged),
            Verdict::Refuse(Refusal::Digest { .. })
        ));
    }

    #[test]
    fn the_generation_in_force_is_ignored_when_equal_and_refused_when_different() {
        let in_force = Some((Generation::new(4), Digest::of(b"a")));
        assert_eq!(judge(in_force, &offer(4, b"a")), Verdict::Same);
        assert!(matches!(
            judge(in_force, &offer(4, b"b")),
            Verdict::Refuse(Refusal::Conflict { .. })
        ));
    }

    proptest! {
        #[test]
        fn the_generation_never_goes_backwards(
            offers in prop::collection::vec((1..20_u64, 0..4_u8, prop::bool::ANY), 1..60),
        ) {
            let mut in_force: Option<(Generation, Digest)> = None;
            for (generation, content, damaged) in offers {
                let bytes = [content];
                let mut received = offer(generation, &bytes);
                if damaged {
                    received.bytes = b"damaged";
                }
                let before = in_force;
                match judge(in_force, &received) {
                    Verdict::Adopt => in_force = Some((received.generation, received.digest)),
                    Verdict::Same | Verdict::Refuse(_) => {}
                }
                prop_assert!(in_force.map(|d| d.0) >= before.map(|d| d.0));
                if in_force.map(|d| d.0) == before.map(|d| d.0) {
                    prop_assert_eq!(in_force, before, "one generation has one content");
                }
                prop_assert!(!damaged || in_force == before);
            }
        }
    }
}
