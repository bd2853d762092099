//! Which nodes a deployment means.

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::ids::SiteName;

use super::{Node, Phase};

/// Which nodes. Everything given must hold; nothing given selects every node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Nodes with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Nodes at one of these sites; empty means every site.
    pub sites: BTreeSet<SiteName>,
}

impl Selector {
    /// Whether `node` is meant. Revoked and decommissioned nodes never are.
    #[must_use]
    pub fn selects(&self, node: &Node) -> bool {
        let takes_part = match node.phase {
            Phase::Enrolled => true,
            Phase::Revoked | Phase::Decommissioned => false,
        };
        let at_site = self.sites.is_empty() || self.sites.contains(&node.site);
        let labelled = |(key, value)| node.labels.get(key) == Some(value);
        takes_part && at_site && self.labels.iter().all(labelled)
    }
}
