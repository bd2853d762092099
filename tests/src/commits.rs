//! What an agent says it committed, against what cloudcore counted.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous};
use crate::process::Process;
use crate::wait::until;

/// Requests of every window an agent committed, by (lineage, sequence number).
pub type Commits = BTreeMap<(String, u64), u64>;

/// What `agent` says in its log.
///
/// # Errors
/// When the log cannot be read.
pub fn committed(agent: &Process) -> Result<Commits> {
    let mut windows = BTreeMap::new();
    for line in agent
        .log_text()?
        .lines()
        .filter(|line| line.contains("window committed"))
    {
        let field = |name: &str| -> Result<String> {
            let start = line
                .find(&format!("{name}="))
                .with_context(|| format!("no {name} in: {line}"))?;
            let value = &line[start + name.len() + 1..];
            let end = value.find([' ', '\u{1b}']).unwrap_or(value.len());
            Ok(value[..end].trim_matches('"').to_owned())
        };
        let sequence: u64 = field("sequence")?.parse()?;
        windows.insert((field("lineage")?, sequence), field("requests")?.parse()?);
    }
    Ok(windows)
}

/// Ends the agent well, so that its last window is cut, starts it again to drain, and waits until
/// cloudcore counted every window the agent committed, once and as it was. Gives their number.
///
/// # Errors
/// When a window is missing, doubled or another one, or when there are fewer than `least`.
pub async fn check_every_commit_is_counted_once(fleet: &mut Fleet, least: usize) -> Result<usize> {
    fleet.agent.stop().await?;
    let committed = committed(fleet.agent.process())?;
    ensure!(
        committed.len() >= least,
        "the agent committed {} windows, {least} were expected",
        committed.len()
    );
    fleet.agent.start_again(&fleet.options).await?;
    until(
        "every committed window in the cloud",
        COUNTED_DEADLINE,
        async || {
            let windows = fleet.windows()?;
            check_contiguous(&windows)?;
            let counted: Commits = windows
                .iter()
                .map(|window| {
                    let requests = window.requests.values().sum::<u64>();
                    ((window.lineage.clone(), window.first), requests)
                })
                .collect();
            for (key, requests) in &committed {
                if let Some(found) = counted.get(key) {
                    ensure!(
                        found == requests,
                        "window {key:?}: {requests} committed, {found} counted"
                    );
                }
            }
            let all = committed.keys().all(|key| counted.contains_key(key));
            Ok(all.then_some(()))
        },
    )
    .await?;
    Ok(committed.len())
}
