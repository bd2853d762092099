//! Model deployments and rollouts.

use fleet_api::{
    Gap, ModelDeployment, Resource, Rollout, RolloutNodeStatus, RolloutWave, Selector, Verdict,
    WaveSpec,
};
use jiff::Timestamp;

use super::{View, condition, conditions, text, time};
use crate::output::{Column, Page, age_of};

impl View for ModelDeployment {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("MODEL"),
        Column::Always("VERSION"),
        Column::Always("ACTIVE"),
        Column::Always("AVAILABLE"),
        Column::Always("ROLLOUT"),
        Column::Wide("SELECTOR"),
        Column::Always("AGE"),
    ];

    fn cells(deployment: &Resource<Self>, now: Timestamp) -> Vec<String> {
        let (spec, status) = (&deployment.spec, &deployment.status);
        vec![
            deployment.metadata.name.clone(),
            spec.model.clone(),
            spec.version.clone(),
            format!("{}/{}", status.active, status.selected),
            condition(&status.conditions, "Available"),
            text(status.rollout.as_ref()),
            selector(&spec.selector),
            age_of(deployment.metadata.creation_timestamp, now),
        ]
    }

    fn details(deployment: &Resource<Self>, page: &mut Page, now: Timestamp) {
        let (spec, status) = (&deployment.spec, &deployment.status);
        page.field("Model", &spec.model);
        page.field("Version", &spec.version);
        page.field("Selector", selector(&spec.selector));
        page.optional(
            "Prove For",
            spec.strategy
                .prove_for_seconds
                .map(|seconds| format!("{seconds}s")),
        );
        if spec.strategy.gap == Some(Gap::Allowed) {
            page.field("Gap", "allowed where both versions do not fit into memory");
        }
        let wave = |wave: &WaveSpec| vec![wave.name.clone(), format!("{}%", wave.percent)];
        let waves: Vec<_> = spec.strategy.waves.iter().map(wave).collect();
        if waves.is_empty() {
            page.field("Waves", "all nodes at once");
        } else {
            page.rows("Waves", &["WAVE", "NODES"].map(Column::Always), waves);
        }
        page.field("Observed Generation", status.observed_generation);
        page.field("Nodes Selected", status.selected);
        page.field("Nodes Active", status.active);
        page.field("Rollout", text(status.rollout.as_ref()));
        conditions(page, &status.conditions, now);
    }
}

pub(super) fn selector(selector: &Selector) -> String {
    let labels = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let mut parts: Vec<String> = labels.collect();
    if !selector.sites.is_empty() {
        parts.push(format!("site in ({})", selector.sites.join(", ")));
    }
    if parts.is_empty() {
        "every node".to_owned()
    } else {
        parts.join(", ")
    }
}

impl View for Rollout {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("MODEL"),
        Column::Always("VERSION"),
        Column::Always("PHASE"),
        Column::Always("WAVE"),
        Column::Always("PASSED"),
        Column::Wide("MESSAGE"),
        Column::Always("AGE"),
    ];

    fn cells(rollout: &Resource<Self>, now: Timestamp) -> Vec<String> {
        let (spec, status) = (&rollout.spec, &rollout.status);
        vec![
            rollout.metadata.name.clone(),
            spec.model.clone(),
            spec.version.clone(),
            format!("{:?}", status.phase),
            wave(rollout),
            passed(rollout),
            status.message.clone(),
            age_of(rollout.metadata.creation_timestamp, now),
        ]
    }

    fn details(rollout: &Resource<Self>, page: &mut Page, _: Timestamp) {
        let (spec, status) = (&rollout.spec, &rollout.status);
        page.field("Deployment", &spec.deployment);
        page.field("Deployment Gen.", spec.deployment_generation);
        page.field("Model", &spec.model);
        page.field("Version", &spec.version);
        page.field("Phase", format!("{:?}", status.phase));
        page.field("Message", &status.message);
        page.field("Started", time(status.started));
        page.field("Finished", time(status.finished));
        page.field("Wave", wave(rollout));
        page.field("Passed", passed(rollout));
        let cells = |wave: &RolloutWave| {
            vec![
                wave.name.clone(),
                wave.nodes.len().to_string(),
                wave.nodes.join(", "),
            ]
        };
        let waves = spec.waves.iter().map(cells).collect();
        page.rows(
            "Waves",
            &["WAVE", "COUNT", "NODES"].map(Column::Always),
            waves,
        );
        let cells = |node: &RolloutNodeStatus| {
            vec![
                node.node.clone(),
                format!("{:?}", node.verdict),
                node.message.clone(),
            ]
        };
        let nodes = status.nodes.iter().map(cells).collect();
        page.rows(
            "Nodes",
            &["NODE", "VERDICT", "MESSAGE"].map(Column::Always),
            nodes,
        );
    }
}

/// `2/3 main`: which wave of how many moves, and its name.
pub(crate) fn wave(rollout: &Resource<Rollout>) -> String {
    let waves = &rollout.spec.waves;
    let index = usize::try_from(rollout.status.wave).unwrap_or(usize::MAX);
    match waves.get(index) {
        Some(wave) => format!("{}/{} {}", index + 1, waves.len(), wave.name),
        None => format!("{0}/{0}", waves.len()),
    }
}

/// `5/12`: nodes that passed, of all nodes of all waves.
pub(crate) fn passed(rollout: &Resource<Rollout>) -> String {
    let is_pass = |node: &&RolloutNodeStatus| node.verdict == Verdict::Pass;
    let passed = rollout.status.nodes.iter().filter(is_pass).count();
    let all: usize = rollout.spec.waves.iter().map(|wave| wave.nodes.len()).sum();
    format!("{passed}/{all}")
}
