//! Pipelines.

use fleet_api::{NodePipelineStatus, Pipeline, Resource, Selector};
use jiff::Timestamp;
use millwright_proto::ids::PipelineName;

use super::rollouts::selector;
use super::{View, condition, conditions};
use crate::output::{Column, Page, age_of};

impl View for Pipeline {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("MODEL"),
        Column::Always("RUNNING"),
        Column::Always("REFUSED"),
        Column::Always("ALL RUNNING"),
        Column::Wide("SELECTOR"),
        Column::Wide("MESSAGE"),
        Column::Always("AGE"),
    ];

    fn cells(pipeline: &Resource<Self>, now: Timestamp) -> Vec<String> {
        let (spec, status) = (&pipeline.spec.0, &pipeline.status);
        let told = status.conditions.first();
        vec![
            pipeline.metadata.name.clone(),
            spec.model.to_string(),
            format!("{}/{}", status.running, status.selected),
            status.refused.to_string(),
            condition(&status.conditions, "Running"),
            selected(pipeline),
            told.map(|told| told.message.clone()).unwrap_or_default(),
            age_of(pipeline.metadata.creation_timestamp, now),
        ]
    }

    fn details(pipeline: &Resource<Self>, page: &mut Page, now: Timestamp) {
        let status = &pipeline.status;
        page.field("Model", &pipeline.spec.0.model);
        page.field("Selector", selected(pipeline));
        page.field("Observed Generation", status.observed_generation);
        page.field("Nodes Selected", status.selected);
        page.field("Nodes Running", status.running);
        page.field("Nodes Refusing", status.refused);
        if let Ok(name) = pipeline.metadata.name.parse::<PipelineName>() {
            let sentences = pipeline.spec.on_node(name).sentences();
            let rows = sentences.into_iter().map(|said| vec![said]).collect();
            page.rows("What It Does", &[Column::Always("IN WORDS")], rows);
        }
        conditions(page, &status.conditions, now);
    }
}

fn selected(pipeline: &Resource<Pipeline>) -> String {
    let selected = pipeline.spec.0.selector.clone().unwrap_or_default();
    selector(&Selector {
        match_labels: selected.match_labels,
        sites: selected.sites,
    })
}

/// The rows of a node's page.
pub(super) fn on_node(page: &mut Page, pipelines: &[NodePipelineStatus]) {
    let columns = ["PIPELINE", "STATE", "REASON", "MESSAGE"].map(Column::Always);
    let cells = |pipeline: &NodePipelineStatus| {
        vec![
            pipeline.pipeline.clone(),
            format!("{:?}", pipeline.state),
            pipeline.reason.clone(),
            pipeline.message.clone(),
        ]
    };
    page.rows("Pipelines", &columns, pipelines.iter().map(cells).collect());
}
