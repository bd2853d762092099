//! The hold somebody at the box puts on this node: kept in a file, seen by the running agent, told upward.
//!
//! ```text
//! edge-agent hold ──> hold.json ──> watch (every second) ──> control ──> condition Held
//! ```
//!
//! The file is the hold: whoever may write to the data directory may hold the node, with or without a
//! running agent, and it survives restarts and power cuts. What a hold means is decided in
//! [`edge_core::hold`]. A file that cannot be read counts as a hold: letting go is the act that must
//! not happen by accident.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use edge_core::hold::Hold;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::HoldArguments;
use crate::data_dir::{DataDirError, Layout, READABLE, read_if_present, replace_file, sync_parent};
use crate::identity::StoredIdentity;
use crate::status::{ask, text};
use crate::telemetry::clock::Clock;

/// How often the file is looked at: a person waits for it, and looking is one `open`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the command waits for the running agent to confirm.
const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// Longest reason, in characters: it travels with every report.
pub const REASON_CHARS_MAX: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HoldFile {
    reason: String,
    since_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
}

/// The hold in the data directory; `None` when there is none.
///
/// # Errors
/// When the file exists and the system does not let it be read.
pub fn read(layout: &Layout) -> Result<Option<Hold>, DataDirError> {
    let Some(bytes) = read_if_present(&layout.hold())? else {
        return Ok(None);
    };
    Ok(Some(match serde_json::from_slice(&bytes) {
        Ok(HoldFile {
            reason,
            since_ms,
            until_ms,
        }) => Hold {
            reason,
            since_ms,
            until_ms,
        },
        Err(_damaged) => unreadable(),
    }))
}

/// Puts `hold` in force, whatever was before.
///
/// # Errors
/// When it cannot be stored; what was in force stays.
pub fn store(layout: &Layout, hold: &Hold) -> Result<(), DataDirError> {
    let file = HoldFile {
        reason: hold.reason.chars().take(REASON_CHARS_MAX).collect(),
        since_ms: hold.since_ms,
        until_ms: hold.until_ms,
    };
    let bytes = serde_json::to_vec(&file).expect("texts and numbers are JSON");
    replace_file(&layout.hold(), &bytes, READABLE)
}

/// Ends the hold. Tells whether there was one.
///
/// # Errors
/// When the file cannot be deleted; the hold stays.
pub fn release(layout: &Layout) -> Result<bool, DataDirError> {
    let path = layout.hold();
    let removed = match fs::remove_file(&path) {
        Ok(()) => sync_parent(&path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    removed.map_err(|source| DataDirError::File {
        operation: "delete",
        path,
        source,
    })
}

/// The hold in force now and every change of it, until every receiver is gone. A hold whose time has
/// passed is released here.
#[must_use]
pub fn watch(layout: Layout, clock: Clock) -> watch::Receiver<Option<Hold>> {
    let (sender, receiver) = watch::channel(look(&layout, &clock));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = sender.closed() => return,
            }
            let now = tokio::task::block_in_place(|| look(&layout, &clock));
            sender.send_if_modified(|seen| {
                let changed = *seen != now;
                *seen = now;
                changed
            });
        }
    });
    receiver
}

/// Runs `edge-agent hold` and tells what came of it.
///
/// # Errors
/// When the data directory is none of an enrolled node's, or cannot be written.
pub fn ask(arguments: HoldArguments) -> anyhow::Result<String> {
    let data_dir = arguments.node.data_dir()?;
    let root = data_dir.canonicalize().with_context(|| {
        format!(
            "cannot look into the data directory {}: run this as the user of the agent (or with sudo), or name \
             another with --data-dir DIR",
            data_dir.display()
        )
    })?;
    let layout = Layout::at(&root);
    let node = StoredIdentity::load(&layout)?.node.node;
    let (wanted, done) = if arguments.release {
        match release(&layout)? {
            true => (None, "goes on with what the cloud wants".to_owned()),
            false => (None, "was not held".to_owned()),
        }
    } else {
        let since_ms = ask::wall_ms();
        let length = arguments
            .duration
            .map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let hold = Hold {
            reason: arguments.reason.chars().take(REASON_CHARS_MAX).collect(),
            since_ms,
            until_ms: length.map(|length| since_ms.saturating_add(length)),
        };
        store(&layout, &hold)?;
        let keeps = match length {
            Some(length) => format!("keeps the versions it runs for {}", text::span(length)),
            None => "keeps the versions it runs until `edge-agent hold --release`".to_owned(),
        };
        (Some(since_ms), keeps)
    };
    let note = if !layout.is_in_use()? {
        "; no agent runs now, so it holds from its next start"
    } else if seen(&layout, wanted) {
        ""
    } else {
        "; the agent has not confirmed it yet, look at `edge-agent status`"
    };
    Ok(match (wanted, note) {
        (None, _) => format!("{node} {done}"),
        (Some(_), note) => format!("{node} {done}{note}"),
    })
}

/// Waits until the running agent says what the file says.
fn seen(layout: &Layout, since_ms: Option<u64>) -> bool {
    let deadline = Instant::now() + SEEN_LIMIT;
    while Instant::now() < deadline {
        let told = ask::ask(layout).map(|status| status.hold.map(|hold| hold.since_ms));
        if told.is_ok_and(|told| told == since_ms) {
            return true;
        }
        std::thread::sleep(LOOK_EVERY / 4);
    }
    false
}

fn look(layout: &Layout, clock: &Clock) -> Option<Hold> {
    let hold = read(layout).unwrap_or_else(|_| Some(unreadable()))?;
    if !hold.is_over(clock.now().wall_ms) {
        return Some(hold);
    }
    // A file that cannot be deleted is over all the same.
    if let Err(error) = release(layout) {
        tracing::debug!("the hold is over, but its file stays: {error}");
    }
    None
}

fn unreadable() -> Hold {
    Hold {
        reason: "hold.json cannot be read; `edge-agent hold --release` deletes it".to_owned(),
        since_ms: 0,
        until_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(until_ms: Option<u64>) -> Hold {
        Hold {
            reason: "night shift".to_owned(),
            since_ms: 5,
            until_ms,
        }
    }

    #[test]
    fn a_hold_survives_in_its_file_and_a_damaged_file_holds_on() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path());
        assert_eq!(read(&layout).unwrap(), None);
        store(&layout, &hold(Some(9))).unwrap();
        assert_eq!(read(&layout).unwrap(), Some(hold(Some(9))));
        fs::write(layout.hold(), b"{\"reason\":").unwrap();
        let damaged = read(&layout).unwrap().unwrap();
        assert!(damaged.reason.contains("--release") && !damaged.is_over(u64::MAX));
        assert!(release(&layout).unwrap());
        assert!(!release(&layout).unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_running_agent_sees_a_hold_come_and_go_and_lets_go_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path());
        store(&layout, &hold(Some(6))).unwrap();
        let mut seen = watch(layout.clone(), Clock::start(0));
        assert_eq!(*seen.borrow_and_update(), None, "it was over long ago");
        assert!(!layout.hold().exists());
        store(&layout, &hold(None)).unwrap();
        seen.changed().await.unwrap();
        assert_eq!(*seen.borrow_and_update(), Some(hold(None)));
        release(&layout).unwrap();
        seen.changed().await.unwrap();
        assert_eq!(*seen.borrow_and_update(), None);
    }
}
