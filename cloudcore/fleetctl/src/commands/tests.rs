//! Commands that write, against a scripted cloudcore.

use fleet_api::Site;
use serde_json::{Value, json};

use super::*;
use crate::client::tests::{Scripted, problem};
use crate::exit::Exit;
use crate::package::PackageDirectory;

const SITE: &str = "\
apiVersion: millwright/v1
kind: Site
metadata: {name: leipzig}
spec: {displayName: New}
";

fn stored(display: &str) -> (u16, Value) {
    let document = json!({
        "apiVersion": "millwright/v1",
        "kind": "Site",
        "metadata": {"name": "leipzig", "resourceVersion": "7", "generation": 3},
        "spec": {"displayName": display},
        "status": {"nodes": 4},
    });
    (200, document)
}

/// Applies [`SITE`] with `flags`; returns what was printed, or the exit code.
async fn apply_site(scripted: &Scripted, flags: &[&str]) -> Result<String, Exit> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("site.yaml");
    std::fs::write(&file, SITE).unwrap();
    let file = file.display().to_string();
    let line = [&["fleetctl", "apply", "-f", &file], flags].concat();
    let Command::Apply(args) = <Cli as clap::Parser>::parse_from(line).command else {
        panic!("apply is apply");
    };
    let mut out = Vec::new();
    let documents = apply::read(&args.files).unwrap();
    match apply::run(&args, documents, &scripted.client, &mut out).await {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(Exit::of(&error)),
    }
}

#[tokio::test]
async fn apply_creates_updates_or_leaves_alone() {
    let scripted = Scripted::start(|seen, _| match seen.line.starts_with("GET") {
        true => problem(404, "not-found"),
        false => stored("New"),
    })
    .await;
    assert_eq!(
        apply_site(&scripted, &[]).await,
        Ok("Site/leipzig created\n".to_owned())
    );
    assert_eq!(scripted.lines()[1], "POST /api/v1/sites");

    let scripted = Scripted::start(|_, _| stored("Old")).await;
    let printed = apply_site(&scripted, &["--dry-run"]).await;
    assert_eq!(printed, Ok("Site/leipzig updated (dry run)\n".to_owned()));
    assert_eq!(scripted.lines()[1], "PUT /api/v1/sites/leipzig?dryRun=true");
    let sent = scripted.seen()[1].json();
    assert_eq!(sent["metadata"]["resourceVersion"], "7");
    assert_eq!(sent["spec"]["displayName"], "New");

    let scripted = Scripted::start(|_, _| stored("New")).await;
    assert_eq!(
        apply_site(&scripted, &[]).await,
        Ok("Site/leipzig unchanged\n".to_owned())
    );
    assert_eq!(scripted.lines(), ["GET /api/v1/sites/leipzig"]);
}

#[tokio::test]
async fn an_update_that_lost_a_race_is_tried_again_and_others_are_not() {
    let scripted = Scripted::start(
        |seen, before| match (seen.line.starts_with("PUT"), before) {
            (true, 1) => problem(409, "conflict"),
            _ => stored("Old"),
        },
    )
    .await;
    assert_eq!(
        apply_site(&scripted, &[]).await,
        Ok("Site/leipzig updated\n".to_owned())
    );
    assert_eq!(scripted.lines().len(), 4);

    let scripted = Scripted::start(|seen, _| match seen.line.starts_with("PUT") {
        true => problem(409, "immutable"),
        false => stored("Old"),
    })
    .await;
    assert_eq!(apply_site(&scripted, &[]).await, Err(Exit::Conflict));
    assert_eq!(scripted.lines().len(), 2);
}

/// A signed good package and its bundle.
fn package(root: &std::path::Path) -> (PackageDirectory, String) {
    crate::package::tests::good(root);
    let package = PackageDirectory::read(root).unwrap();
    let key = millwright_package::SigningKey::generate().unwrap();
    let bundle = key
        .sign(&package.files, &package.manifest.model_version())
        .unwrap();
    (package, bundle)
}

async fn push_to(
    scripted: &Scripted,
    package: &PackageDirectory,
    bundle: &str,
) -> Result<String, (Exit, String)> {
    let signer = millwright_package::signer_hint(bundle).unwrap();
    let mut out = Vec::new();
    let pushed = push::push(
        package,
        bundle.to_owned(),
        signer,
        &scripted.client,
        &mut out,
    )
    .await;
    match pushed {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err((Exit::of(&error), error.to_string())),
    }
}

#[tokio::test]
async fn a_push_uploads_what_is_missing_and_then_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let (package, bundle) = package(directory.path());
    let known = package.files.entries()[0].digest;
    let scripted = Scripted::start(move |seen, _| {
        let (method, path) = seen.line.split_once(' ').unwrap();
        match method {
            "HEAD" if path.ends_with(&known.to_hex()) => (200, Value::Null),
            "HEAD" | "GET" => problem(404, "not-found"),
            "POST" => (201, seen.json()),
            _ => (201, Value::Null),
        }
    })
    .await;
    let printed = push_to(&scripted, &package, &bundle).await.unwrap();
    assert_eq!(
        printed,
        "Model/adder created\nModelVersion/adder@1.0.0 created\n"
    );

    let seen = scripted.seen();
    let uploads: Vec<_> = seen
        .iter()
        .filter(|seen| seen.line.starts_with("PUT"))
        .collect();
    let missing = &package.files.entries()[1..];
    assert_eq!(uploads.len(), missing.len());
    for (upload, entry) in uploads.iter().zip(missing) {
        assert_eq!(upload.line, format!("PUT /api/v1/blobs/{}", entry.digest));
        assert_eq!(millwright_proto::Digest::of(&upload.body), entry.digest);
    }
    let version = seen.last().unwrap();
    assert_eq!(version.line, "POST /api/v1/modelversions");
    let spec = &version.json()["spec"];
    assert_eq!(
        (&spec["model"], &spec["version"]),
        (&json!("adder"), &json!("1.0.0"))
    );
    assert_eq!(spec["bundle"], json!(bundle));
    assert_eq!(spec["files"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_published_version_is_left_alone_or_defended() {
    let directory = tempfile::tempdir().unwrap();
    let (package, bundle) = package(directory.path());
    let published = |files: Value, bundle: String| {
        let document = json!({
            "apiVersion": "millwright/v1",
            "kind": "ModelVersion",
            "metadata": {"name": "adder@1.0.0"},
            "spec": {"model": "adder", "version": "1.0.0", "files": files, "bundle": bundle},
        });
        Scripted::start(move |_, _| (200, document.clone()))
    };
    let entries = package.files.entries().iter();
    let files: Value = entries
        .map(|e| json!({"path": e.path, "digest": e.digest, "sizeBytes": e.size_bytes}))
        .collect();

    let scripted = published(files.clone(), bundle.clone()).await;
    let printed = push_to(&scripted, &package, &bundle).await.unwrap();
    assert_eq!(printed, "ModelVersion/adder@1.0.0 unchanged\n");
    assert_eq!(scripted.lines(), ["GET /api/v1/modelversions/adder@1.0.0"]);

    let mut other = files.clone();
    other[1]["digest"] = json!(millwright_proto::Digest::of(b"other"));
    let scripted = published(other, bundle.clone()).await;
    let (exit, said) = push_to(&scripted, &package, &bundle).await.unwrap_err();
    assert_eq!(exit, Exit::Conflict);
    assert!(
        said.contains("other content (model.onnx differs)"),
        "{said}"
    );

    let (_, foreign) = self::package(directory.path());
    let scripted = published(files, foreign).await;
    let (exit, said) = push_to(&scripted, &package, &bundle).await.unwrap_err();
    assert_eq!(exit, Exit::Conflict);
    assert!(said.contains("raise metadata.version"), "{said}");
}

#[test]
fn durations_are_read_as_people_write_them() {
    assert_eq!(duration("90s").unwrap().as_secs(), 90);
    assert_eq!(duration("1h30m").unwrap().as_secs(), 5400);
    for wrong in ["", "5", "-5m", "soon"] {
        assert!(
            duration(wrong).unwrap_err().contains("is not a duration"),
            "{wrong}"
        );
    }
}

#[test]
fn what_is_printed_as_yaml_can_be_applied() {
    let mut site = fleet_api::Resource::<Site>::new("leipzig", fleet_api::SiteSpec::default());
    site.metadata.resource_version = Some("3".to_owned());
    site.metadata.creation_timestamp = Some(Timestamp::UNIX_EPOCH);
    let mut out = Vec::new();
    let sites = vec![
        site.clone(),
        fleet_api::Resource::new("ulm", fleet_api::SiteSpec::default()),
    ];
    crate::output::list(
        &mut out,
        crate::output::Format::Yaml,
        sites,
        Timestamp::UNIX_EPOCH,
    )
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sites.yaml");
    std::fs::write(&file, out).unwrap();
    assert_eq!(apply::read(&[file]).unwrap().len(), 2);
}
