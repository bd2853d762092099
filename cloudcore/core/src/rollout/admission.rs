//! Which version each node gets now: the target, or what it had, within the disruption budget.
//!
//! Every node has a version it *should* get by waves and history alone. Whether it gets it now is a
//! question of budget, whichever way it moves: a node that already changes costs nothing more, any
//! other takes a place, and without a place it keeps what it has. So the budget holds across
//! superseded rollouts and fallbacks too; `simulation.rs` asserts it.
//!
//! A node that restarts looks like one that changes: a site that comes back after a power cut must not
//! change as a whole. So does one that tries again what it refused, because another model gave it a new
//! generation. So what changes already moves on only as far as the budget has places for it.
//!
//! A node that an operator makes follow the cloud again takes a place too, whatever it is to get: what it runs
//! is not what the store says.

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::ids::{ModelName, ModelVersion, NodeName, Version};

use super::gate::{self, Verdict};
use super::{Case, Phase, Rollout};
use crate::desired::Standing;
use crate::fleet::Node;

/// Who gets what now.
pub(super) struct Admitted {
    /// The version of every node that shall run the model.
    pub(super) assigned: BTreeMap<NodeName, Version>,
    /// As in [`super::Progress`].
    pub(super) waiting: BTreeSet<NodeName>,
}

/// The version of every node that shall run the model.
pub(super) fn admit(case: Case<'_>, number: u64, rollout: &Rollout) -> Admitted {
    let model = &rollout.target.model;
    let mut assigned = BTreeMap::new();
    let mut waiting = BTreeSet::new();
    let mut changing = 0_usize;
    let mut moving = Vec::new();
    let mut restarting = Vec::new();
    let mut candidates = Vec::new();
    for (name, node) in case.nodes {
        let stored = stored_version(node, model);
        if let Some(stored) = stored {
            assigned.insert((*name).clone(), stored.clone());
        }
        let change = change(case, rollout, name, node);
        changing += usize::from(change != Change::No);
        let is_reasserted = matches!(Standing::of(node), Standing::Reasserted { .. });
        let due = due(case, number, rollout, name, node);
        let Some(due) = due.or(stored.filter(|_| is_reasserted)) else {
            continue;
        };
        if (stored == Some(due) && !is_reasserted) || keeps(case, model, node) {
            continue;
        }
        if is_reasserted {
            waiting.insert((*name).clone());
        }
        // Connected nodes come first: they can use their place.
        let place = (!node.is_connected(), *name, due);
        match change {
            Change::Surely => moving.push(place),
            Change::Perhaps => restarting.push(place),
            Change::No => candidates.push(place),
        }
    }
    for places in [&mut moving, &mut restarting, &mut candidates] {
        places.sort_unstable();
    }
    let budget = case.deployment.strategy.budget;
    let others = changing - moving.len() - restarting.len();
    // One that only restarts would begin to change: what surely changes keeps its places.
    let may_move = budget.left(others);
    let may_begin = budget.left(others + moving.len());
    let may_join = budget.left(changing);
    let admitted = moving
        .into_iter()
        .take(may_move)
        .chain(restarting.into_iter().take(may_begin))
        .chain(candidates.into_iter().take(may_join));
    for (_, name, due) in admitted {
        waiting.remove(name);
        assigned.insert(name.clone(), due.clone());
    }
    Admitted { assigned, waiting }
}

/// Whether the node keeps what it has whatever its turn: nothing is planned for it, or what it runs was
/// adopted and the deployment has said nothing new since.
fn keeps(case: Case<'_>, model: &ModelName, node: &Node) -> bool {
    match Standing::of(node) {
        Standing::Ahead { .. }
        | Standing::Unheard
        | Standing::OutOfReach { .. }
        | Standing::Adopted { .. } => true,
        Standing::Reasserted { .. } => false,
        Standing::Level { .. } => {
            let slot = |node: &'_ Node| {
                let desired = node.desired.as_ref()?;
                desired.content.slots.get(model)?.adopted
            };
            slot(node) == Some(case.deployment.generation)
        }
    }
}

/// The version a node should get by waves and history.
fn due<'a>(
    case: Case<'a>,
    number: u64,
    rollout: &'a Rollout,
    name: &NodeName,
    node: &Node,
) -> Option<&'a Version> {
    let begun = rollout.has_begun(name).unwrap_or(rollout.is_in_last_wave());
    let was_told = gate::is_told(node, &rollout.target);
    match rollout.phase {
        Phase::Progressing | Phase::Succeeded if begun => Some(&rollout.target.version),
        Phase::Progressing | Phase::Succeeded | Phase::Failed | Phase::Superseded => {
            (!was_told).then(|| fallback(case, number, rollout, name, node))?
        }
    }
}

/// The version that the rollouts before `number` leave a node with: the newest one that is proven, by a
/// whole rollout or on this very node. `None` leaves it with what it has: taking a model away because
/// nobody proved it would stop the line.
fn fallback<'a>(
    case: Case<'a>,
    number: u64,
    current: &Rollout,
    name: &NodeName,
    node: &Node,
) -> Option<&'a Version> {
    let older = case.history.range(..number).rev();
    let mut older = older
        .map(|(_, rollout)| rollout)
        .filter(|rollout| rollout.target.model == current.target.model);
    let proven = older.find(|rollout| {
        rollout.phase == Phase::Succeeded || has_passed(rollout, name, node, &rollout.target)
    });
    Some(&proven?.target.version)
}

/// Whether a node changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// What it was told is active, or it refused it and serves what it had.
    No,
    /// It was told a version that nobody saw active on it.
    Surely,
    /// It had the version active before, or refused it: it restarts, tries again, or was moved away and back.
    Perhaps,
}

/// Whether the node was told a version that nobody saw active on it. A silent node stays one.
fn change(case: Case<'_>, current: &Rollout, name: &NodeName, node: &Node) -> Change {
    let model = &current.target.model;
    let Some(version) = stored_version(node, model) else {
        return Change::No;
    };
    match Standing::of(node) {
        Standing::Level { .. } | Standing::Unheard => {}
        // It keeps what it has, and nobody asked it for anything else yet.
        Standing::Ahead { .. }
        | Standing::OutOfReach { .. }
        | Standing::Reasserted { .. }
        | Standing::Adopted { .. } => return Change::No,
    }
    let told = ModelVersion {
        model: model.clone(),
        version: version.clone(),
    };
    // One that refused what it was told serves what it had: moving it on would begin a change.
    let refused = gate::evidence(node, &told) == Some(Verdict::Fail);
    if refused || has_passed(current, name, node, &told) {
        return Change::No;
    }
    // An older rollout's verdict is not enough: the node may have been moved away and back since.
    let judged = |rollout: &Rollout| {
        rollout.target == told && rollout.verdict(name) != Verdict::Inconclusive
    };
    match case.history.values().any(judged) {
        true => Change::Perhaps,
        false => Change::Surely,
    }
}

fn has_passed(rollout: &Rollout, name: &NodeName, node: &Node, version: &ModelVersion) -> bool {
    match gate::evidence(node, version) {
        Some(Verdict::Pass) => true,
        Some(Verdict::Fail) => false,
        Some(Verdict::Inconclusive) | None => {
            rollout.target == *version && rollout.verdict(name) == Verdict::Pass
        }
    }
}

fn stored_version<'a>(node: &'a Node, model: &ModelName) -> Option<&'a Version> {
    let slot = node.desired.as_ref()?.content.slots.get(model)?;
    Some(&slot.version)
}
