//! What a worker is told about how it runs, and what it says came of that.

use millwright_package::{Arena, Provider};
use serde::{Deserialize, Serialize};

use super::sandbox::{Gap, Strictness};

/// How workers run on this node, whatever they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Whether a worker that cannot be confined completely opens its model.
    pub sandbox: Strictness,
    /// What models may be computed with here, best first; empty: what each manifest prefers.
    pub providers: Vec<Provider>,
    /// Memory that one worker may have, whatever its manifest says; `None`: what its manifest says.
    pub memory_bytes: Option<u64>,
}

impl WorkerSettings {
    /// What is tried for a model whose manifest prefers `preferred`, in order: what this node allows and the
    /// model was made for, in the order of the node, and the processor last.
    #[must_use]
    pub fn candidates(&self, preferred: &[Provider]) -> Vec<Provider> {
        let mut candidates: Vec<Provider> = match (self.providers.as_slice(), preferred) {
            ([], preferred) => preferred.to_vec(),
            (allowed, []) => allowed.to_vec(),
            (allowed, preferred) => {
                let both = allowed
                    .iter()
                    .filter(|provider| preferred.contains(provider));
                both.copied().collect()
            }
        };
        if !candidates.contains(&Provider::Cpu) {
            candidates.push(Provider::Cpu);
        }
        candidates
    }
}

/// How one worker is to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The unpacked package: readable, with everything below it.
    pub directory: String,
    /// Whether it may open the model without being confined completely.
    pub sandbox: Strictness,
    /// What to compute with, in the order to try.
    pub providers: Vec<Provider>,
    /// What becomes of memory between requests.
    pub arena: Arena,
}

/// What the model is computed with, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computing {
    /// The provider that took the model. Operators it lacks are computed by the processor.
    pub provider: Provider,
    /// Why each one before it did not, for people.
    pub passed_over: Vec<String>,
}

/// What a worker has become, apart from its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footing {
    /// What the kernel could not keep it from.
    pub gaps: Vec<Gap>,
    /// What it computes with.
    pub computing: Computing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Provider::{Cpu, Cuda, Openvino, Tensorrt};

    #[test]
    fn the_node_decides_the_order_the_manifest_what_is_allowed_and_the_processor_is_always_left() {
        let candidates = |node: &[Provider], manifest: &[Provider]| {
            let settings = WorkerSettings {
                providers: node.to_vec(),
                ..WorkerSettings::default()
            };
            settings.candidates(manifest)
        };
        assert_eq!(candidates(&[], &[]), [Cpu]);
        assert_eq!(candidates(&[], &[Tensorrt, Cuda]), [Tensorrt, Cuda, Cpu]);
        assert_eq!(candidates(&[Openvino], &[]), [Openvino, Cpu]);
        assert_eq!(
            candidates(&[Cuda, Cpu, Tensorrt], &[Tensorrt, Cuda]),
            [Cuda, Tensorrt, Cpu]
        );
        assert_eq!(
            candidates(&[Cpu], &[Cuda]),
            [Cpu],
            "the node forbids what it does not list"
        );
    }
}
