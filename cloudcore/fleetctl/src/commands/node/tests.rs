use serde_json::{Value, json};

use super::*;
use crate::client::tests::{Scripted, Seen, problem};
use crate::commands::{Cli, Command};
use crate::exit::Exit;

fn node(name: &str, ahead: &str) -> Value {
    json!({
        "apiVersion": "millwright/v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"site": "leipzig"},
        "status": {"conditions": [
            {"type": "Connected", "status": "True", "reason": "Session", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "AheadOfCloud", "status": ahead, "reason": "Restored", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]},
    })
}

fn list(items: &[Value]) -> (u16, Value) {
    let document = json!({
        "apiVersion": "millwright/v1", "kind": "NodeList", "metadata": {"resourceVersion": "1"},
        "items": items,
    });
    (200, document)
}

/// Three nodes, of which `press-1` and `press-3` are ahead; about `press-1` nothing can be decided.
fn fleet(seen: &Seen) -> (u16, Value) {
    if seen.line.starts_with("GET") {
        let items = [
            node("press-1", "True"),
            node("press-2", "False"),
            node("press-3", "True"),
        ];
        return list(&items);
    }
    match seen.line.contains("/press-1/") {
        true => problem(409, "conflict"),
        false => (200, node("press-3", "True")),
    }
}

/// What `fleetctl node` prints, and how it ends.
async fn ended(scripted: &Scripted, arguments: &[&str]) -> (String, Exit) {
    let line = [&["fleetctl", "node"], arguments].concat();
    let Command::Node(command) = <Cli as clap::Parser>::parse_from(line).command else {
        panic!("node is node");
    };
    let mut out = Vec::new();
    let exit = match run(command, &scripted.client, &mut out).await {
        Ok(()) => Exit::Done,
        Err(error) => Exit::of(&error),
    };
    (String::from_utf8(out).unwrap(), exit)
}

#[tokio::test]
async fn a_decision_is_about_the_node_that_is_named() {
    for (action, done) in [("adopt", "adopted"), ("reassert", "reasserted")] {
        let scripted = Scripted::start(|seen, _| fleet(seen)).await;
        let told = ended(&scripted, &[action, "press-3"]).await;
        assert_eq!(told, (format!("Node/press-3 {done}\n"), Exit::Done));
        let (said, exit) = ended(&scripted, &[action, "press-1"]).await;
        assert_eq!((said.as_str(), exit), ("", Exit::Conflict));
        let asked = |name| format!("POST /api/v1/nodes/{name}/{action}");
        assert_eq!(scripted.lines(), [asked("press-3"), asked("press-1")]);
    }
}

#[tokio::test]
async fn all_means_the_nodes_that_are_ahead_and_one_refusal_does_not_stop_the_others() {
    let scripted = Scripted::start(|seen, _| fleet(seen)).await;
    let (said, exit) = ended(&scripted, &["adopt", "--all", "--dry-run"]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("Node/press-1 not adopted: "),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["Node/press-3 adopted (dry run)"]);
    assert_eq!(exit, Exit::Conflict);
    let asked = |name| format!("POST /api/v1/nodes/{name}/adopt?dryRun=true");
    assert_eq!(
        scripted.lines()[1..],
        [asked("press-1"), asked("press-3")],
        "{:?}",
        scripted.lines()
    );
}

#[tokio::test]
async fn where_no_node_is_ahead_nothing_is_asked_and_that_is_said() {
    let scripted = Scripted::start(|_, _| {
        let items = [node("press-2", "False")];
        list(&items)
    })
    .await;
    let told = ended(&scripted, &["reassert", "--all"]).await;
    assert_eq!(
        told,
        ("No node is ahead of this cloud\n".to_owned(), Exit::Done)
    );
    assert_eq!(scripted.lines().len(), 1);
}
