//! A [`Status`] as people read it in a terminal.

use std::fmt::Write;

use super::{BacklogFacts, LinkFacts, ModelFacts, Status};
use crate::pipeline::PipelineFacts;

/// Width of the names on the left.
const NAME_WIDTH: usize = 13;

/// The whole status, one fact per line.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut out = String::new();
    let facts = [node(status), cloud(status), wish(status)];
    for (name, value) in facts.into_iter().flatten() {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<NAME_WIDTH$}{value}");
    }
    models(&status.models, status.running, &mut out);
    for facts in &status.models {
        if let Some(drift) = &facts.drift {
            let (model, version, why) = (&facts.model, &facts.active, &facts.drift_message);
            let _ = writeln!(
                out,
                "{:<NAME_WIDTH$}{model}@{version}: {drift} ({why})",
                "Drift"
            );
        }
    }
    pipelines(&status.pipelines, status.now_ms, &mut out);
    if status.advice.is_empty() {
        out.push_str("\nNothing needs attention.\n");
    } else {
        out.push_str("\nNeeds attention:\n");
    }
    for advice in &status.advice {
        let _ = writeln!(out, "  * {advice}");
    }
    out
}

type Lines = Vec<(&'static str, String)>;

fn node(status: &Status) -> Lines {
    let node = &status.node;
    let mut lines = Lines::new();
    if !node.name.is_empty() {
        let (site, tenant) = (&node.site, &node.tenant);
        let told = format!("{}  (site {site}, tenant {tenant})", node.name);
        lines.push(("Node", told));
    }
    let agent = match status.running {
        true => format!("{} runs on {}", node.agent_version, node.data_dir),
        false => format!(
            "does not run on {}; this is what the directory tells",
            node.data_dir
        ),
    };
    lines.push(("Agent", agent));
    lines
}

fn cloud(status: &Status) -> Lines {
    let now = status.now_ms;
    let mut lines = Lines::new();
    match &status.link {
        Some(link) => lines.push(("Cloud", connection(link, now))),
        None if status.running => lines.push(("Cloud", "none: this agent works alone".to_owned())),
        None => {}
    }
    if let Some(backlog) = &status.backlog {
        lines.extend(outbox(backlog, now));
    }
    if let Some(disk) = &status.disk {
        let (free, total) = (bytes(disk.free_bytes), bytes(disk.total_bytes));
        lines.push(("Disk", format!("{free} free of {total}")));
    }
    if let Some(certificate) = &status.certificate {
        let told = match certificate.not_after_ms.checked_sub(now) {
            Some(left) => {
                let renewal = certificate.next_renewal_ms;
                let renewal = renewal.map(|at| span(at.saturating_sub(now)));
                let renewal = renewal.map(|left| format!(", renewed in {left}"));
                format!("ends in {}{}", span(left), renewal.unwrap_or_default())
            }
            None => format!("ended {} ago", span(now - certificate.not_after_ms)),
        };
        lines.push(("Certificate", told));
    }
    lines
}

fn outbox(backlog: &BacklogFacts, now: u64) -> Lines {
    let oldest = backlog.oldest_ms.map(|at| now.saturating_sub(at));
    let oldest = oldest.map(|age| format!(", the oldest {} old", span(age)));
    let told = format!(
        "{} records, {}{}",
        backlog.records,
        bytes(backlog.bytes),
        oldest.unwrap_or_default()
    );
    let mut lines = vec![("Backlog", told)];
    if backlog.merged_windows > 0 {
        let told = format!(
            "{} windows merged into coarser ones",
            backlog.merged_windows
        );
        lines.push(("", told));
    }
    let lost = backlog.losses.iter();
    let lost: Vec<String> = lost.map(|(why, count)| format!("{count} {why}")).collect();
    let lost = if lost.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{} records", lost.join(", "))
    };
    lines.push(("Lost", lost));
    let (used, quota) = (bytes(backlog.used_bytes), bytes(backlog.quota_bytes));
    let written = bytes(backlog.written_today_bytes);
    let budget = backlog.written_per_day_max_bytes.map(bytes);
    let budget = budget
        .map(|budget| format!(" of {budget}"))
        .unwrap_or_default();
    lines.push((
        "Outbox",
        format!("{used} of {quota}; {written}{budget} written today"),
    ));
    lines
}

fn wish(status: &Status) -> Lines {
    let now = status.now_ms;
    let told = match (status.desired.generation, status.desired.waiting_generation) {
        (0, _) => "none in force".to_owned(),
        (generation, None) => format!("generation {generation}"),
        (generation, Some(waiting)) => {
            format!("generation {generation}; {waiting} has arrived and waits")
        }
    };
    let mut lines = Lines::new();
    // An agent that works alone has the wish of whoever started it.
    if !(status.running && status.link.is_none()) {
        lines.push(("Desired", told));
    }
    if let Some(hold) = &status.hold {
        let until = match hold.until_ms {
            Some(until) => format!(", for another {}", span(until.saturating_sub(now))),
            None => String::new(),
        };
        let since = span(now.saturating_sub(hold.since_ms));
        lines.push(("Held", format!("since {since}{until}: {}", hold.reason)));
    }
    if let Some(runtime) = &status.onnxruntime {
        lines.push(("ONNX Runtime", runtime.message.clone()));
    }
    lines
}

fn connection(link: &LinkFacts, now: u64) -> String {
    let since = span(now.saturating_sub(link.since_ms));
    let state = match (link.state.as_str(), &link.transport) {
        ("connected", Some(transport)) => format!("connected by {transport} for {since}"),
        ("disabled", _) => "no address is configured".to_owned(),
        ("refused", _) => format!("refused for {since}"),
        _ => format!("not connected for {since}"),
    };
    match &link.last_error {
        Some(error) => format!("{state}; last error: {error}"),
        None => state,
    }
}

fn models(models: &[ModelFacts], running: bool, out: &mut String) {
    if models.is_empty() {
        out.push_str("Models       none\n");
        return;
    }
    let mut rows = vec![
        [
            "MODEL", "ANSWERS", "WANTED", "STATE", "REQUESTS", "ERRORS", "MEMORY", "COMPUTED",
        ]
        .map(str::to_owned),
    ];
    rows.extend(models.iter().map(|facts| {
        let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        let count = |count: u64| {
            if running {
                count.to_string()
            } else {
                "-".to_owned()
            }
        };
        [
            facts.model.clone(),
            or_dash(&facts.active),
            or_dash(&facts.wanted),
            or_dash(&facts.state),
            count(facts.requests),
            count(facts.errors),
            facts.memory_bytes.map_or("-".to_owned(), bytes),
            or_dash(facts.provider.as_deref().unwrap_or_default()),
        ]
    }));
    table(&rows, out);
}

fn pipelines(pipelines: &[PipelineFacts], now: u64, out: &mut String) {
    if pipelines.is_empty() {
        return;
    }
    let mut rows = vec![
        [
            "PIPELINE", "STATE", "SINCE", "RECEIVED", "DROPPED", "ANSWERED", "FAILED",
        ]
        .map(str::to_owned),
    ];
    rows.extend(pipelines.iter().map(|facts| {
        [
            facts.name.clone(),
            facts.state.clone(),
            span(now.saturating_sub(facts.since_ms)),
            facts.received.to_string(),
            facts.dropped.to_string(),
            facts.answered.to_string(),
            facts.failed.to_string(),
        ]
    }));
    table(&rows, out);
    for facts in pipelines.iter().filter(|facts| facts.compared > 0) {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "The shadow of {} saw {} inputs and disagreed on {}.",
            facts.name, facts.compared, facts.disagreed
        );
    }
}

fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]], out: &mut String) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    out.push('\n');
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
}

/// `1.5 MiB`.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `3 h 12 min`: the two largest parts of a length in milliseconds.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, minutes) => format!("{minutes} min {rest} s"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BacklogFacts, DesiredFacts, HoldFacts, NodeStatus};
    use super::*;

    #[test]
    fn lengths_and_sizes_read_well() {
        assert_eq!(
            [0, 59_999, 61_000, 11_520_000, 360_000_000].map(span),
            ["0 s", "59 s", "1 min 1 s", "3 h 12 min", "4 d 4 h"]
        );
        assert_eq!(
            [512, 1536, 64 << 20].map(bytes),
            ["512 B", "1.5 KiB", "64.0 MiB"]
        );
    }

    #[test]
    fn the_text_tells_who_how_long_how_much_and_what_to_do() {
        let status = Status {
            running: true,
            node: NodeStatus {
                name: "press-1".to_owned(),
                site: "leipzig".to_owned(),
                ..NodeStatus::default()
            },
            now_ms: 10_000_000,
            link: Some(LinkFacts {
                state: "connecting".to_owned(),
                since_ms: 2_800_000,
                last_error: Some("no answer".to_owned()),
                ..LinkFacts::default()
            }),
            backlog: Some(BacklogFacts {
                records: 120,
                bytes: 2048,
                oldest_ms: Some(4_600_000),
                losses: [("evicted".to_owned(), 1), ("corrupt".to_owned(), 3)].into(),
                merged_windows: 240,
                used_bytes: 1024,
                quota_bytes: 4096,
                written_today_bytes: 512,
                written_per_day_max_bytes: Some(2048),
            }),
            desired: DesiredFacts {
                generation: 17,
                waiting_generation: Some(18),
            },
            hold: Some(HoldFacts {
                reason: "audit".to_owned(),
                since_ms: 9_000_000,
                until_ms: Some(11_000_000),
            }),
            models: vec![ModelFacts {
                model: "detector".to_owned(),
                wanted: "2".to_owned(),
                active: "1".to_owned(),
                state: "pending".to_owned(),
                requests: 7,
                memory_bytes: Some(1 << 20),
                provider: Some("cpu".to_owned()),
                drift: Some("drift".to_owned()),
                drift_message: "pressure (PSI 0.41, KS 0.22)".to_owned(),
                ..ModelFacts::default()
            }],
            advice: vec!["Do this.".to_owned()],
            ..Status::default()
        };
        let text = text(&status);
        for words in [
            "press-1  (site leipzig",
            "not connected for 2 h 0 min; last error: no answer",
            "120 records, 2.0 KiB, the oldest 1 h 30 min old",
            "240 windows merged into coarser ones",
            "3 corrupt, 1 evicted records",
            "1.0 KiB of 4.0 KiB; 512 B of 2.0 KiB written today",
            "generation 17; 18 has arrived and waits",
            "since 16 min 40 s, for another 16 min 40 s: audit",
            "detector  1        2       pending  7         0       1.0 MiB  cpu",
            "Drift        detector@1: drift (pressure (PSI 0.41, KS 0.22))",
            "  * Do this.",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
