use millwright_proto::link::PipelineState;

use super::*;
use crate::config::Permission;
use crate::pipeline::PipelineFacts;

const PUSH: &str = r#"{"apiVersion": "millwright/v1", "kind": "Pipeline", "metadata": {"name": "NAME"},
    "spec": {"source": SOURCE, "model": "m", "sinks": [SINKS]}}"#;

fn sent(name: &str, source: &str, sinks: &str) -> CloudPipelines {
    let text = PUSH.replace("NAME", name).replace("SOURCE", source);
    let document = text.replace("SINKS", sinks).into_bytes().into();
    let name = name.to_owned();
    let read = CloudPipeline::read(PipelineDocument { name, document });
    Arc::new(read.into_iter().collect())
}

fn guard(root: &std::path::Path) -> Guard {
    Guard {
        permission: Permission::Allowed,
        data_dir: root.join("data"),
        secrets: root.join("data/secrets"),
        directories: vec![root.join("pictures")],
    }
}

/// Why a pipeline with this source and sink does not run; empty when it does.
fn refusal(root: &std::path::Path, source: &str, sinks: &str) -> (&'static str, String) {
    let mut admitted = admit(&[], &sent("a", source, sinks), &guard(root));
    let (_, refused) = admitted.cloud.pop_first().unwrap().1;
    refused.map_or_else(Default::default, |why| (why.reason, why.message))
}

#[test]
fn secrets_are_named_below_their_directory_and_nowhere_else() {
    let root = tempfile::tempdir().unwrap();
    let secrets = root.path().join("data/secrets");
    let camera = |file: &str| {
        format!(
            r#"{{"camera": {{"url": "http://c/", "username": "u", "passwordFile": "{file}"}}}}"#
        )
    };
    let admitted = admit(
        &[],
        &sent("a", &camera("gate/door"), ""),
        &guard(root.path()),
    );
    let mut pipeline = admitted.run[0].clone();
    let whole = secrets.join("gate/door").display().to_string();
    assert_eq!(*pipeline.paths_mut()[0].path, whole);
    for (file, fine) in [
        (whole.as_str(), true),
        ("/etc/shadow", false),
        ("../identity/identity.key", false),
        (&format!("{}/../identity/tls.pem", secrets.display()), false),
        (&format!("{}-other/x", secrets.display()), false),
        (".", false),
    ] {
        let (reason, message) = refusal(root.path(), &camera(file), "");
        assert_eq!(reason, if fine { "" } else { "SecretOutside" }, "{file}");
        assert!(fine || message.contains("data/secrets"), "{message}");
    }
    for sink in [
        r#"{"webhook": {"url": "http://w/", "tokenFile": "/etc/token"}}"#,
        r#"{"webhook": {"url": "https://w/", "caFile": "/etc/ca"}}"#,
        r#"{"mqtt": {"topic": "t", "broker": "mqtts://b:1", "tls": {"caFile": "/etc/ca"}}}"#,
        r#"{"mqtt": {"topic": "t", "broker": "mqtt://b:1", "username": "u", "passwordFile": "/etc/p"}}"#,
    ] {
        let (reason, message) = refusal(root.path(), r#"{"push": {}}"#, sink);
        assert_eq!(reason, "SecretOutside", "{sink}");
        assert!(message.starts_with("spec.sinks[0]."), "{message}");
    }
}

#[test]
fn only_directories_that_this_machine_lists_are_read_or_filled_and_none_of_the_agent() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    std::fs::create_dir_all(data.join("identity")).unwrap();
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let directory = |path: &std::path::Path, done: &str| {
        let path = path.display();
        format!(r#"{{"directory": {{"path": "{path}", "done": {{"move": "{done}"}}}}}}"#)
    };
    let outside = root.path().join("pictures");
    let inside = data.join("identity").display().to_string();
    std::fs::create_dir(&outside).unwrap();
    let away = outside.join("away");
    std::os::unix::fs::symlink(root.path(), &away).unwrap();
    let elsewhere = root.path().join("elsewhere").display().to_string();
    for (source, expected) in [
        (directory(&outside, "done"), ""),
        (directory(&outside.join("camera-1"), "done"), ""),
        (directory(&data, "done"), "DirectoryInside"),
        (directory(&data.join("secrets"), "done"), "DirectoryInside"),
        (directory(&link.join("identity"), "done"), "DirectoryInside"),
        (
            directory(&outside.join("../data"), "done"),
            "DirectoryInside",
        ),
        (directory(&outside, &inside), "DirectoryInside"),
        (
            directory(root.path(), "data/packages"),
            "DirectoryNotListed",
        ),
        (directory(&outside, &elsewhere), "DirectoryNotListed"),
        (
            directory(&away.join("elsewhere"), "done"),
            "DirectoryNotListed",
        ),
        (
            directory(std::path::Path::new("/etc"), "done"),
            "DirectoryNotListed",
        ),
    ] {
        let (reason, _) = refusal(root.path(), &source, "");
        assert_eq!(reason, expected, "{source}");
    }
}

#[test]
fn a_file_of_this_machine_goes_first_and_one_bad_pipeline_keeps_no_other_from_running() {
    let root = tempfile::tempdir().unwrap();
    let push = r#"{"push": {}}"#;
    let mut cloud = BTreeMap::clone(&sent("own", push, ""));
    cloud.extend(BTreeMap::clone(&sent("good", push, "")));
    cloud.extend(BTreeMap::clone(&sent(
        "bad",
        r#"{"camera": {"url": "rtsp://c"}}"#,
        "",
    )));
    let own = Pipeline::clone(cloud.values().last().unwrap().pipeline.as_ref().unwrap());
    let cloud = Arc::new(cloud);
    let admitted = admit(std::slice::from_ref(&own), &cloud, &guard(root.path()));
    let names: Vec<_> = admitted.run.iter().map(|one| one.name().as_str()).collect();
    assert_eq!(names, ["own", "good"]);
    let facts = PipelineFacts {
        name: "good".to_owned(),
        state: "running".to_owned(),
        ..PipelineFacts::default()
    };
    let told = report::of(&admitted, &[facts]);
    let told: Vec<_> = told
        .iter()
        .map(|one| (one.pipeline.as_str(), one.state(), one.reason.as_str()))
        .collect();
    let refused = PipelineState::Refused;
    assert_eq!(
        told,
        [
            ("bad", refused, "Invalid"),
            ("good", PipelineState::Running, ""),
            ("own", refused, "NameTaken"),
        ]
    );
    let denied = Guard {
        permission: Permission::Denied,
        ..guard(root.path())
    };
    let admitted = admit(&[own], &cloud, &denied);
    assert_eq!(admitted.run.len(), 1, "what this machine wants runs");
    let why = admitted.cloud.values();
    let why = why.filter_map(|(_, why)| Some(why.as_ref()?.reason));
    assert_eq!(why.collect::<Vec<_>>(), ["Denied", "Denied", "NameTaken"]);
}

#[test]
fn more_than_a_node_runs_are_refused_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    let mut cloud = BTreeMap::new();
    for at in 0..files::PIPELINES_MAX + 2 {
        let name = format!("p{at:03}");
        cloud.extend(BTreeMap::clone(&sent(&name, r#"{"push": {}}"#, "")));
    }
    let admitted = admit(&[], &Arc::new(cloud), &guard(root.path()));
    assert_eq!(admitted.run.len(), files::PIPELINES_MAX);
    let refused = admitted.cloud.values().filter(|(_, why)| why.is_some());
    assert_eq!(refused.count(), 2);
}
