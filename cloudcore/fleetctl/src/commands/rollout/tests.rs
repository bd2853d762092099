use serde_json::{Value, json};

use super::*;
use crate::client::tests::{Scripted, problem};

/// A deployment of generation 2 and what the planner said of it.
fn deployment(observed: u64, rollout: Option<&str>) -> (u16, Value) {
    let document = json!({
        "apiVersion": "millwright/v1",
        "kind": "ModelDeployment",
        "metadata": {"name": "faces", "generation": 2},
        "spec": {"model": "m", "version": "2"},
        "status": {"observedGeneration": observed, "rollout": rollout},
    });
    (200, document)
}

fn progressing((status, mut document): (u16, Value), message: &str) -> (u16, Value) {
    document["status"]["conditions"] = json!([{
        "type": "Progressing", "status": "False", "reason": "Because",
        "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    (status, document)
}

fn rollout(name: &str, phase: &str, verdict: &str) -> (u16, Value) {
    let document = json!({
        "apiVersion": "millwright/v1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "deployment": "faces", "deploymentGeneration": 2, "model": "m", "version": "2",
            "waves": [{"name": "all", "nodes": ["press-1"]}],
        },
        "status": {
            "phase": phase,
            "message": "because",
            "nodes": [{"node": "press-1", "verdict": verdict, "message": "golden set differs"}],
        },
    });
    (200, document)
}

async fn exit(scripted: &Scripted, followed: Followed, timeout: Duration) -> (Exit, String) {
    match wait(&scripted.client, followed, timeout).await {
        Ok(rollout) => (Exit::Done, rollout.metadata.name),
        Err(error) => (Exit::of(&error), error.to_string()),
    }
}

fn one() -> Followed {
    Followed::Rollout("faces-2".to_owned())
}

fn newest() -> Followed {
    Followed::Deployment("faces".to_owned())
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_end_has_its_own_exit_code() {
    for (phase, expected) in [
        ("Succeeded", Exit::Done),
        ("Failed", Exit::RolloutFailed),
        ("Superseded", Exit::RolloutSuperseded),
    ] {
        let scripted = Scripted::start(move |_, _| rollout("faces-2", phase, "Fail")).await;
        let (exit, said) = exit(&scripted, one(), MINUTE).await;
        assert_eq!(exit, expected, "{said}");
        if expected == Exit::RolloutFailed {
            assert!(
                said.contains("because; press-1: golden set differs"),
                "{said}"
            );
        }
    }
    let scripted = Scripted::start(|_, _| problem(404, "not-found")).await;
    assert_eq!(exit(&scripted, one(), MINUTE).await.0, Exit::NotFound);
}

#[tokio::test]
async fn a_rollout_that_does_not_end_in_time_is_left_alone() {
    let scripted = Scripted::start(|_, _| rollout("faces-2", "Progressing", "Pass")).await;
    let (exit, said) = exit(&scripted, one(), Duration::ZERO).await;
    assert_eq!(exit, Exit::RolloutTimeout);
    assert!(
        said.contains("1/1 nodes passed") && said.contains("it goes on"),
        "{said}"
    );
    assert_eq!(scripted.lines(), ["GET /api/v1/rollouts/faces-2"]);
}

#[tokio::test]
async fn a_deployment_is_followed_past_old_rollouts_and_a_restart_of_cloudcore() {
    let scripted = Scripted::start(|seen, before| match (before, seen.line.as_str()) {
        // The planner has not seen generation 2: rollout 1 is about something else.
        (0, _) => deployment(1, Some("faces-1")),
        (1, _) => problem(503, "overloaded"),
        (_, "GET /api/v1/rollouts/faces-2") => rollout("faces-2", "Succeeded", "Pass"),
        (_, "GET /api/v1/rollouts/faces-1") => rollout("faces-1", "Superseded", "Inconclusive"),
        (2, _) => deployment(2, Some("faces-1")),
        (_, _) => deployment(2, Some("faces-2")),
    })
    .await;
    let (exit, name) = exit(&scripted, newest(), MINUTE).await;
    assert_eq!((exit, name.as_str()), (Exit::Done, "faces-2"));
}

#[tokio::test]
async fn the_success_of_an_older_version_is_not_that_of_the_one_wanted() {
    let scripted = Scripted::start(|seen, _| {
        if seen.line.contains("/rollouts/") {
            let (status, mut document) = rollout("faces-1", "Succeeded", "Pass");
            document["spec"]["version"] = json!("1");
            (status, document)
        } else {
            progressing(deployment(2, Some("faces-1")), "m@2 was never pushed")
        }
    })
    .await;
    let (exit, said) = exit(&scripted, newest(), Duration::ZERO).await;
    assert_eq!(exit, Exit::RolloutTimeout);
    assert!(said.contains("m@2 was never pushed"), "{said}");
}

#[tokio::test]
async fn what_the_planner_said_of_the_version_before_is_not_said_of_the_one_wanted() {
    let scripted = Scripted::start(|_, _| {
        progressing(deployment(1, Some("faces-1")), "m@1 is active on 1 nodes")
    })
    .await;
    let (exit, said) = exit(&scripted, newest(), Duration::ZERO).await;
    assert_eq!(exit, Exit::RolloutTimeout);
    assert!(
        said.contains("no rollout of deployment faces has begun within"),
        "{said}"
    );
}
