//! One case: copy, damage, open with the agent's own code, compare.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_agent::data_dir::Layout;
use edge_agent::desired::DesiredStore;
use edge_agent::store::{RecoveryNote, StateStore};
use serde::{Deserialize, Serialize};

use super::damage::damage;
use super::template::{Part, Template};
use crate::readback::read_back;
use crate::record::Token;

/// In percent, how often each part is damaged; the rest is the desired state.
const OUTBOX_PERCENT: u8 = 70;
const STATE_PERCENT: u8 = 20;

/// Appended after the damage: the store must go on, and never with a number used before.
const FRESH: Token = 100_001;

/// What became of a damaged store.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Verdict {
    /// Everything is as it was.
    Unharmed,
    /// Something is missing, and was reported.
    Declared,
    /// A fresh store took its place, and said so.
    Quarantined,
    /// Nothing is missing after a repair that was reported.
    Repaired,
    /// A broken promise.
    Silent(String),
}

/// Runs one in `place`, which does not exist yet.
///
/// # Errors
/// When the files cannot be handled; what a store does wrong is the verdict.
pub(crate) async fn run(
    template: &Template,
    place: &Path,
    dice: &mut fastrand::Rng,
) -> Result<Verdict> {
    let part = match dice.u8(0..100) {
        drawn if drawn < OUTBOX_PERCENT => Part::Outbox,
        drawn if drawn < OUTBOX_PERCENT + STATE_PERCENT => Part::State,
        _ => Part::Desired,
    };
    let files = template.copy(part, place)?;
    let done = damage(place, &files, dice)?;
    let verdict = match part {
        Part::Outbox => outbox(template, place).await,
        Part::State => state(template, place).await,
        Part::Desired => desired(template, place)?,
    };
    Ok(match verdict {
        Verdict::Silent(finding) => Verdict::Silent(format!("{done}: {finding}")),
        other => other,
    })
}

async fn outbox(template: &Template, place: &Path) -> Verdict {
    let mut cloud = template.cloud.clone();
    let before = cloud.declared_lost;
    let readback = match read_back(&place.join("outbox"), &mut cloud, FRESH).await {
        Ok(readback) => readback,
        Err(error) => return Verdict::Silent(format!("{error:#}")),
    };
    if (readback.lineage != template.lineage) != readback.quarantined() {
        return Verdict::Silent(format!("another lineage, but {:?}", readback.notes));
    }
    cloud.settle_declared(readback.lineage);
    if let (finding, 1..) = cloud.findings() {
        return Verdict::Silent(finding.join("; "));
    }
    let declared = cloud.declared_lost > before;
    match (
        readback.quarantined(),
        declared || readback.lost(),
        readback.notes.is_empty(),
    ) {
        (true, true, _) if declared => Verdict::Quarantined,
        (true, ..) => Verdict::Silent("quarantined without a declared loss".to_owned()),
        (false, true, _) => Verdict::Declared,
        (false, false, false) => Verdict::Repaired,
        (false, false, true) => Verdict::Unharmed,
    }
}

async fn state(template: &Template, place: &Path) -> Verdict {
    let (store, notes) = match StateStore::open(place.join("state")).await {
        Ok(opened) => opened,
        Err(error) => return Verdict::Silent(crate::recorder::describe(&error)),
    };
    let mut changed = Vec::new();
    for (key, expected) in &template.state {
        match store.get(key).await {
            Ok(found) if found == *expected => {}
            Ok(found) => {
                let older = found.as_deref().and_then(crate::record::token);
                changed.push(format!("{key} is {older:?}"));
            }
            Err(error) => changed.push(format!("{key}: {}", crate::recorder::describe(&error))),
        }
    }
    let reported = notes
        .iter()
        .any(|note| !matches!(note, RecoveryNote::Repaired { .. }));
    match (changed.is_empty(), reported) {
        (true, false) if notes.is_empty() => Verdict::Unharmed,
        (true, false) => Verdict::Repaired,
        (_, true) => Verdict::Declared,
        (false, false) => Verdict::Silent(format!("without a note: {}", changed.join(", "))),
    }
}

fn desired(template: &Template, place: &Path) -> Result<Verdict> {
    let layout = Layout::at(place);
    let (store, damages) = DesiredStore::open(&layout);
    let found = store
        .in_force()
        .map(|found| (found.generation, found.digest));
    if found != Some(template.desired) {
        return Ok(Verdict::Silent(format!("in force is {found:?}")));
    }
    for path in layout.desired() {
        let name = path.file_name().context("a file has a name")?;
        let copy = fs::read(&path).context("reading a copy")?;
        if copy != fs::read(template.directory.join(name)).context("reading the template")? {
            return Ok(Verdict::Silent(format!(
                "{} was not repaired",
                path.display()
            )));
        }
    }
    Ok(if damages.is_empty() {
        Verdict::Unharmed
    } else {
        Verdict::Repaired
    })
}
