//! Which node moves in which wave.

use std::collections::BTreeSet;

use millwright_proto::ids::NodeName;

use super::Wave;

/// Name of the only wave when a strategy names none.
const ALL: &str = "all";

/// Name of the wave of the nodes that no named wave takes.
const REST: &str = "rest";

/// One wave of a strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaveSpec {
    /// For people.
    pub name: String,
    /// Percent of all selected nodes, rounded up, at least one node; 1 to 100.
    pub percent: u8,
}

/// Spreads `nodes` over the waves, in order of their names. Waves that get no node are left out.
#[must_use]
pub fn spread(specs: &[WaveSpec], nodes: &BTreeSet<NodeName>) -> Vec<Wave> {
    let mut left = nodes.iter().cloned();
    let mut waves = Vec::new();
    for spec in specs {
        let share = (nodes.len() * usize::from(spec.percent)).div_ceil(100);
        waves.push(Wave {
            name: spec.name.clone(),
            nodes: left.by_ref().take(share.max(1)).collect(),
        });
    }
    let last = if specs.is_empty() { ALL } else { REST };
    waves.push(Wave {
        name: last.to_owned(),
        nodes: left.collect(),
    });
    waves.retain(|wave| !wave.nodes.is_empty());
    waves
}
