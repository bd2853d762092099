//! One step of a deployment's rollouts: begin, admit, judge, advance.

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::ids::{DeploymentName, NodeName, Version};

use super::admission::admit;
use super::gate::{self, Told, Verdict};
use super::{Phase, Rollout, waves};
use crate::fleet::{Deployment, Node};

/// Node names that a message lists before it only counts.
const NAMES_LISTED_MAX: usize = 3;

/// What a step decides on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The deployment's name.
    pub name: &'a DeploymentName,
    /// The intent; its target is a known version.
    pub deployment: &'a Deployment,
    /// The nodes it has.
    pub nodes: &'a BTreeMap<&'a NodeName, &'a Node>,
    /// Its rollouts by number.
    pub history: &'a BTreeMap<u64, Rollout>,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// New and changed rollouts by number.
    pub written: BTreeMap<u64, Rollout>,
    /// The current rollout's number and state; `None` while there is none.
    pub current: Option<(u64, Rollout)>,
    /// What each node shall run; a node without an entry shall not run the model.
    pub assigned: BTreeMap<NodeName, Version>,
    /// Nodes that an operator made follow the cloud again and whose turn the budget has not come to: they
    /// keep what they have.
    pub waiting: BTreeSet<NodeName>,
}

/// Takes one step. Repeating it after its result was stored changes nothing.
#[must_use]
pub fn advance(case: Case<'_>) -> Progress {
    let mut progress = Progress::default();
    let Some((number, mut rollout)) = current(case, &mut progress) else {
        return progress;
    };
    overrule(case, number, &mut rollout, &mut progress);
    let mut admitted = admit(case, number, &rollout);
    while judge(case, &mut rollout, &admitted.assigned) == Step::NextWave {
        rollout.wave += 1;
        admitted = admit(case, number, &rollout);
    }
    progress.assigned = admitted.assigned;
    progress.waiting = admitted.waiting;
    if case.history.get(&number) != Some(&rollout) {
        progress.written.insert(number, rollout.clone());
    }
    progress.current = Some((number, rollout));
    progress
}

/// The rollout of the deployment's present generation, begun now if there is none and there can be one.
fn current(case: Case<'_>, progress: &mut Progress) -> Option<(u64, Rollout)> {
    let Case {
        deployment, now_ms, ..
    } = case;
    let newest = case.history.last_key_value();
    if let Some((number, rollout)) = newest
        && rollout.deployment_generation == deployment.generation
        && rollout.target == deployment.target
    {
        return Some((*number, rollout.clone()));
    }
    if case.nodes.is_empty() {
        return None;
    }
    let number = newest.map_or(1, |(number, _)| number + 1);
    for (older, rollout) in case.history {
        if rollout.phase == Phase::Progressing {
            let mut ended = rollout.clone();
            ended.phase = Phase::Superseded;
            ended.finished_ms = Some(now_ms);
            ended.message = format!("rollout {}-{number} took over", case.name);
            progress.written.insert(*older, ended);
        }
    }
    let names: BTreeSet<NodeName> = case.nodes.keys().map(|name| (*name).clone()).collect();
    let rollout = Rollout {
        deployment_generation: deployment.generation,
        target: deployment.target.clone(),
        waves: waves::spread(&deployment.strategy.waves, &names),
        phase: Phase::Progressing,
        wave: 0,
        nodes: BTreeMap::new(),
        message: String::new(),
        started_ms: now_ms,
        finished_ms: None,
    };
    Some((number, rollout))
}

/// A refusal overrules the pass that an ended rollout remembers: else a node that gave a version up
/// would be sent back to it as to one that is proven there, and so on without end.
///
/// One that comes after its rollout ended is remembered too: a node tries again under its next generation,
/// be it that only another model moved, and without the verdict it would look like one that the budget let change.
fn overrule(case: Case<'_>, current: u64, rollout: &mut Rollout, progress: &mut Progress) {
    for (name, node) in case.nodes {
        let Some(told) = gate::told(node, &rollout.target.model) else {
            continue;
        };
        if gate::evidence(node, &told) != Some(Verdict::Fail) {
            continue;
        }
        let mut of_version = rollout.target == told;
        // While it moves its own gates judge it.
        if of_version
            && rollout.phase != Phase::Progressing
            && let Some(refused) = refused(rollout, name, node, Newest::Yes)
        {
            rollout.nodes.insert((*name).clone(), refused);
        }
        let older = case.history.range(..current).rev();
        for (number, older) in older.filter(|(_, older)| older.target == told) {
            let newest = if of_version { Newest::No } else { Newest::Yes };
            of_version = true;
            if let Some(refused) = refused(older, name, node, newest) {
                let written = progress.written.entry(*number);
                let ended = written.or_insert_with(|| older.clone());
                ended.nodes.insert((*name).clone(), refused);
            }
        }
    }
}

/// Whether a rollout is the newest one of its version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newest {
    Yes,
    No,
}

/// The verdict that an ended rollout is given when the node refuses its version; `None` leaves it as it is.
fn refused(
    ended: &Rollout,
    name: &NodeName,
    node: &Node,
    newest: Newest,
) -> Option<(Verdict, String)> {
    let target = &ended.target;
    let why = match ended.verdict(name) {
        Verdict::Pass => format!("{target} was given up after it had passed"),
        Verdict::Inconclusive if newest == Newest::Yes => gate::refusal(node, target),
        Verdict::Inconclusive | Verdict::Fail => return None,
    };
    Some((Verdict::Fail, why))
}

#[derive(PartialEq, Eq)]
enum Step {
    NextWave,
    Stay,
}

/// Judges the nodes of the begun waves and moves the phase.
fn judge(case: Case<'_>, rollout: &mut Rollout, assigned: &BTreeMap<NodeName, Version>) -> Step {
    if rollout.phase != Phase::Progressing {
        return Step::Stay;
    }
    rollout.nodes = verdicts(case, rollout, assigned);
    let with = |wanted| {
        let of_verdict = rollout
            .nodes
            .iter()
            .filter(move |(_, (verdict, _))| *verdict == wanted);
        of_verdict.collect::<Vec<_>>()
    };
    let (passed, waiting) = (with(Verdict::Pass), with(Verdict::Inconclusive));
    let failed = with(Verdict::Fail)
        .first()
        .map(|(name, (_, why))| format!("Node/{name}: {why}"));
    let wave = &rollout.waves[rollout.wave];
    let position = format!(
        "wave `{}` ({} of {})",
        wave.name,
        rollout.wave + 1,
        rollout.waves.len()
    );
    if let Some(failed) = failed {
        rollout.message = format!("{position} stopped: {failed}");
        rollout.phase = Phase::Failed;
    } else if passed.is_empty() && waiting.is_empty() {
        rollout.message = format!(
            "{position} has no node left that could prove {}; change ModelDeployment/{} to begin another rollout",
            rollout.target, case.name
        );
    } else if !waiting.is_empty() {
        let names = listed(waiting.iter().map(|(name, _)| {
            let node = case.nodes.get(*name);
            match node.and_then(|node| gate::blocked(node)) {
                Some(blocked) => format!("{name} ({})", blocked.told()),
                None => name.to_string(),
            }
        }));
        let (done, all) = (passed.len(), passed.len() + waiting.len());
        rollout.message = format!("{position}: {done} of {all} nodes pass; waits for {names}");
    } else if rollout.is_in_last_wave() {
        rollout.message = format!("{} is active on {} nodes", rollout.target, passed.len());
        rollout.phase = Phase::Succeeded;
    } else {
        return Step::NextWave;
    }
    if rollout.phase != Phase::Progressing {
        rollout.finished_ms = Some(case.now_ms);
    }
    Step::Stay
}

fn verdicts(
    case: Case<'_>,
    rollout: &Rollout,
    assigned: &BTreeMap<NodeName, Version>,
) -> BTreeMap<NodeName, (Verdict, String)> {
    let target = &rollout.target;
    let begun = rollout.waves[..=rollout.wave]
        .iter()
        .flat_map(|wave| &wave.nodes);
    let judged = begun.filter_map(|name| {
        let node = case.nodes.get(name)?;
        let told = match assigned.get(name) == Some(&target.version) {
            true if gate::is_told(node, target) => Told::Before,
            true => Told::Now,
            false => Told::NotYet,
        };
        let verdict = gate::judge(name, node, target, rollout.verdict(name), told);
        Some((name.clone(), verdict))
    });
    judged.collect()
}

/// `a, b, c and 4 more`.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMES_LISTED_MAX);
    let first: Vec<_> = names.take(NAMES_LISTED_MAX).collect();
    match more {
        0 => first.join(", "),
        _ => format!("{} and {more} more", first.join(", ")),
    }
}
