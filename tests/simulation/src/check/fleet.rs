//! What a plan may never do, and what must be reached in the end.

use fleet_core::Plan;
use fleet_core::desired::Standing;
use fleet_core::fleet::{Node, Phase};
use fleet_core::rollout::budget::Budget;
use fleet_core::rollout::gate::Verdict;
use millwright_proto::ids::{ModelName, NodeName, Version};

use crate::cloud::Cloud;
use crate::node::{Machine, Power};
use crate::shared::Shared;

/// Records that may be on their way at any moment: what one look after a quiet hour commits.
const FRESH_MAX: u64 = 70;

/// Checks what was just planned against what really is on the devices.
pub(crate) fn fleet(cloud: &Cloud, machines: &[Machine], made: &Plan, shared: &mut Shared) {
    holds_are_kept(cloud, made, shared);
    for model in models(shared) {
        budget_is_kept(cloud, machines, &model, shared);
    }
    verdicts_are_true(machines, cloud, made, shared);
    bad_versions_stay(cloud, shared);
}

fn models(shared: &Shared) -> Vec<ModelName> {
    let models = 0..shared.scenario.models;
    let name = |model| format!("m{model}").parse().expect("a letter and a number");
    models.map(name).collect()
}

/// The machine behind a node; a copy of its disk is not the node.
fn machine_of<'a>(machines: &'a [Machine], node: &Node, shared: &Shared) -> Option<&'a Machine> {
    let machine = machines.get(shared.device_of(node.uid)?)?;
    // A restored cloud may know a device by the name it had before it was enrolled again.
    (machine.uid == node.uid).then_some(machine)
}

/// A node that is ahead of the cloud keeps what it has until an operator decides.
fn holds_are_kept(cloud: &Cloud, made: &Plan, shared: &mut Shared) {
    for name in made.desired.keys() {
        let Some(node) = cloud.store.snapshot.nodes.get(name) else {
            continue;
        };
        // The plan is written already: its generation must lie above what the node said.
        let planned = node.desired.as_ref().map(|desired| desired.generation);
        let reported = node.report.applied.map(|applied| applied.0);
        let decision = node.reassert.or(node.adopt);
        let decided = decision.is_some() && decision == reported;
        if matches!(Standing::of(node), Standing::Ahead { .. }) && !decided {
            let text =
                format!("{name} reports {reported:?} and is told {planned:?} without a decision");
            shared.fail(shared.device_of(node.uid), text);
        }
    }
}

/// What a node was told of a model: the version, and since when.
fn told<'a>(node: &'a Node, model: &ModelName) -> Option<(&'a Version, u64)> {
    let desired = node.desired.as_ref()?;
    let slot = desired.content.slots.get(model)?;
    let since = desired.since.get(model).copied();
    Some((&slot.version, since.unwrap_or(desired.generation).get()))
}

/// Whether the machine really had that version active since it was told.
fn was_active(machine: &Machine, model: &ModelName, version: &Version, since: u64) -> bool {
    machine.was_active.iter().any(|(of, package, generation)| {
        of == model && package.version.version == *version && *generation >= since
    })
}

/// Whether the version is what the machine activated last, whatever number it was told under.
fn has_it(machine: &Machine, model: &ModelName, version: &Version) -> bool {
    let activated = machine.disk.activated.get(model);
    let last = activated.and_then(|packages| packages.last());
    last.is_some_and(|package| package.version.version == *version)
}

/// Nodes told a version that was never active on them are changing.
fn budget_is_kept(cloud: &Cloud, machines: &[Machine], model: &ModelName, shared: &mut Shared) {
    let Budget::AtMost(most) = shared.scenario.budget else {
        return;
    };
    let snapshot = &cloud.store.snapshot;
    // A node that is ahead was asked for nothing, and one that was adopted for what it has.
    let asked = |node: &Node| {
        let level = matches!(
            Standing::of(node),
            Standing::Level { .. } | Standing::Unheard
        );
        let slot = node
            .desired
            .as_ref()
            .and_then(|told| told.content.slots.get(model));
        level && slot.is_some_and(|slot| slot.adopted.is_none())
    };
    let enrolled = |node: &&Node| node.phase == Phase::Enrolled && asked(node);
    let changing = |node: &&Node| {
        let Some((version, since)) = told(node, model) else {
            return false;
        };
        machine_of(machines, node, shared).is_some_and(|machine| {
            // Of a device and its copy the cloud hears as of one.
            let contested = shared.books.facts(machine.disk.outbox.lineage).contested;
            let refused = machine.gave_up.iter().any(|(package, generation)| {
                package.version.model == *model
                    && package.version.version == *version
                    && *generation >= since
            });
            !contested
                && !refused
                && !was_active(machine, model, version, since)
                && !has_it(machine, model, version)
        })
    };
    let nodes = snapshot.nodes.iter();
    let names: Vec<_> = nodes
        .filter(|(_, node)| enrolled(node) && changing(node))
        .map(|(name, node)| (name.as_str(), told(node, model)))
        .collect();
    if names.len() > most.get() as usize {
        let text = format!(
            "{} nodes change {model}, {most} may: {names:?}",
            names.len()
        );
        shared.fail(None, text);
    }
}

/// A pass means that the version was active there, a refusal that it was given up there: silence is neither.
fn verdicts_are_true(machines: &[Machine], cloud: &Cloud, made: &Plan, shared: &mut Shared) {
    let mut wrong = Vec::new();
    for rollout in made.rollouts.values() {
        for (name, (verdict, why)) in &rollout.nodes {
            let Some(node) = cloud.store.snapshot.nodes.get(name) else {
                continue;
            };
            let Some(machine) = machine_of(machines, node, shared) else {
                continue;
            };
            let device = machine.device;
            if shared.books.facts(machine.disk.outbox.lineage).contested {
                continue;
            }
            let version = &rollout.target.version;
            let truth = match verdict {
                Verdict::Pass => was_active(machine, &rollout.target.model, version, 0),
                Verdict::Fail => machine
                    .gave_up
                    .iter()
                    .any(|(package, _)| package.version == rollout.target),
                Verdict::Inconclusive => true,
            };
            if !truth {
                wrong.push((
                    device,
                    format!("{name}: {verdict:?} ({why}), which never happened there"),
                ));
            }
        }
    }
    for (device, text) in wrong {
        shared.fail(Some(device), text);
    }
}

/// A version that no device can run is told to the first wave at most.
fn bad_versions_stay(cloud: &Cloud, shared: &mut Shared) {
    let mut wrong = Vec::new();
    for history in cloud.store.snapshot.rollouts.values() {
        for rollout in history.values() {
            let number: usize = rollout.target.version.as_str().parse().unwrap_or(0);
            if !shared.scenario.releases[number].quality.never_active() {
                continue;
            }
            if rollout.wave > 0 {
                wrong.push((
                    None,
                    format!("{} is in wave {}", rollout.target, rollout.wave + 1),
                ));
            }
            let told = |(name, node): (&NodeName, &Node)| {
                let told = told(node, &rollout.target.model)?;
                let first = rollout.waves[0].nodes.contains(name) || rollout.waves.len() == 1;
                (*told.0 == rollout.target.version && !first).then(|| name.clone())
            };
            let beyond = cloud.store.snapshot.nodes.iter().find_map(told);
            if let Some(name) = beyond {
                wrong.push((
                    None,
                    format!("{name} was told {}, which its wave was not", rollout.target),
                ));
            }
        }
    }
    for (device, text) in wrong {
        shared.fail(device, text);
    }
}

/// After the faults: every node runs what it is to run, everything is told and nothing waits.
/// Returns what is missing.
#[must_use]
pub(crate) fn settled(
    cloud: &Cloud,
    machines: &[Machine],
    shared: &Shared,
) -> Option<(usize, String)> {
    for node in cloud.store.snapshot.nodes.values() {
        if node.phase != Phase::Enrolled {
            continue;
        }
        let Some(machine) = machine_of(machines, node, shared) else {
            continue;
        };
        if machine.power == Power::Gone {
            continue;
        }
        let missing = |what: &str| Some((machine.device, what.to_owned()));
        let Some(agent) = &machine.agent else {
            return missing("the agent does not run");
        };
        if !agent.link.is_live() {
            return missing("there is no session");
        }
        let applied = machine
            .disk
            .in_force()
            .map(|current| (current.generation, current.digest));
        let desired = node
            .desired
            .as_ref()
            .map(|desired| (desired.generation, desired.digest));
        if applied != desired {
            return missing("another desired state is in force than the cloud wants");
        }
        if agent.outbox.ledger.backlog().records > FRESH_MAX {
            return missing("records wait");
        }
        if !agent.models.is_settled() {
            return missing("what is wanted does not serve");
        }
    }
    let wanted = shared.scenario.intents.iter().rev();
    for model in 0..shared.scenario.models {
        let last = wanted.clone().find(|intent| intent.model == model);
        let target = last.map(|intent| &shared.scenario.releases[intent.release].package);
        let behind = machines.iter().find(|machine| {
            let name = &shared.scenario.releases[0].package.version.model;
            let model = target.map_or(name, |target| &target.version.model);
            let runs = machine
                .agent
                .as_ref()
                .and_then(|agent| agent.models.serves(model));
            machine.power == Power::On && !cloud.revoked.contains(&machine.uid) && runs != target
        });
        if let Some(machine) = behind {
            return Some((machine.device, "the last release does not serve".to_owned()));
        }
    }
    None
}
