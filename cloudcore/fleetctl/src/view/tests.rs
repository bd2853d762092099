use fleet_api::{ConditionStatus, Node, NodeModelStatus, NodeSpec, NodeStatus, SlotState};

use super::*;
use crate::output::{Format, table};

fn node() -> Resource<Node> {
    let mut node = Resource::<Node>::new(
        "press-1",
        NodeSpec {
            site: "leipzig".to_owned(),
        },
    );
    node.status = NodeStatus {
        models: vec![
            NodeModelStatus {
                model: "faces".to_owned(),
                version: "2.0.0".to_owned(),
                state: SlotState::Staged,
                active_version: Some("1.0.0".to_owned()),
                ..NodeModelStatus::default()
            },
            NodeModelStatus {
                model: "shuttle".to_owned(),
                version: "1.0.0".to_owned(),
                state: SlotState::Active,
                active_version: Some("1.0.0".to_owned()),
                ..NodeModelStatus::default()
            },
        ],
        conditions: vec![Condition {
            kind: "Connected".to_owned(),
            status: ConditionStatus::False,
            reason: "SessionLost".to_owned(),
            message: "nothing was heard of it".to_owned(),
            last_transition_time: Timestamp::UNIX_EPOCH,
        }],
        ..NodeStatus::default()
    };
    node
}

#[test]
fn a_node_row_says_what_answers_and_what_is_waited_for() {
    let now = Timestamp::from_second(300).unwrap();
    let text = table(
        Node::COLUMNS,
        vec![Node::cells(&node(), now)],
        Format::Table,
    );
    let columns: Vec<&str> = text
        .lines()
        .nth(1)
        .unwrap()
        .split("   ")
        .map(str::trim)
        .collect();
    assert_eq!(
        columns
            .into_iter()
            .filter(|cell| !cell.is_empty())
            .collect::<Vec<_>>(),
        [
            "press-1",
            "leipzig",
            "Disconnected",
            "-",
            "faces@1.0.0 -> 2.0.0 (Staged), shuttle@1.0.0",
            "-",
            "-",
        ]
    );
}

#[test]
fn every_row_has_a_cell_for_every_column() {
    use fleet_api::{JoinToken, Model, ModelDeployment, ModelVersion, Rollout, Site};
    fn check<K: View>(spec: serde_json::Value) {
        let spec = serde_json::from_value(spec).unwrap();
        let object = Resource::<K>::new("x", spec);
        let cells = K::cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(cells.len(), K::COLUMNS.len(), "{}", K::KIND);
        assert!(
            !describe(&object, &[], Timestamp::UNIX_EPOCH)
                .to_string()
                .is_empty()
        );
    }
    use serde_json::json;
    check::<Site>(json!({}));
    check::<Node>(json!({"site": "s"}));
    check::<JoinToken>(json!({"site": "s"}));
    check::<Model>(json!({}));
    check::<ModelVersion>(json!({"model": "m", "version": "1", "files": [], "bundle": ""}));
    check::<ModelDeployment>(json!({"model": "m", "version": "1"}));
    check::<Rollout>(
        json!({"deployment": "d", "deploymentGeneration": 1, "model": "m", "version": "1", "waves": []}),
    );
}

#[test]
fn describe_shows_conditions_and_events() {
    let now = Timestamp::from_second(300).unwrap();
    let event = Event {
        id: 1,
        time: Timestamp::UNIX_EPOCH,
        severity: fleet_api::Severity::Warning,
        reason: "NodeSilent".to_owned(),
        message: "nothing was heard of it".to_owned(),
        regarding: "Node/press-1".to_owned(),
    };
    let page = describe(&node(), &[event], now).to_string();
    for expected in [
        "Name:                 press-1\n",
        "  faces     2.0.0    Staged   1.0.0    -        -\n",
        "  Connected   False    5m      SessionLost   nothing was heard of it\n",
        "  5m    Warning    NodeSilent   nothing was heard of it\n",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
}

#[test]
fn a_pipeline_tells_how_many_run_it_and_what_it_does_in_words() {
    let text = r#"{"selector": {"sites": ["leipzig"]}, "source": {"push": {}}, "model": "m"}"#;
    let spec = serde_json::from_str(text).unwrap();
    let mut pipeline = Resource::<fleet_api::Pipeline>::new("gate", spec);
    pipeline.status.selected = 3;
    pipeline.status.running = 2;
    pipeline.status.refused = 1;
    let now = Timestamp::UNIX_EPOCH;
    let cells = fleet_api::Pipeline::cells(&pipeline, now);
    assert_eq!(cells[..4], ["gate", "m", "2/3", "1"]);
    assert_eq!(cells[5], "site in (leipzig)");
    let page = describe(&pipeline, &[], now).to_string();
    assert!(
        page.contains("sent to POST /pipelines/<name>/push"),
        "{page}"
    );
}
