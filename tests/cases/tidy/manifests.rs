//! Rules of dependencies: one way between our crates, pure cores, one version of what crosses borders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use millwright_tests::checkout;
use serde::Deserialize;

use super::{check, read};

/// What each of our crates may use of the others. An arrow that is not here does not exist.
const MAY_USE: [(&str, &[&str]); 24] = [
    ("millwright-proto", &[]),
    ("millwright-document", &[]),
    ("millwright-summary", &[]),
    ("millwright-identity", &["millwright-proto"]),
    (
        "millwright-package",
        &[
            "millwright-proto",
            "millwright-document",
            "millwright-summary",
        ],
    ),
    (
        // The types of what is done to pictures and outputs, which read the same in a document and in the agent.
        "millwright-pipeline",
        &["edge-vision", "millwright-proto", "millwright-document"],
    ),
    (
        "edge-core",
        &[
            "millwright-proto",
            "millwright-package",
            "millwright-summary",
        ],
    ),
    (
        "fleet-core",
        &[
            "millwright-proto",
            "millwright-package",
            "millwright-summary",
        ],
    ),
    ("edge-ipc", &[]),
    ("edge-strings", &[]),
    ("edge-vision", &[]),
    (
        "edge-agent",
        &[
            "millwright-proto",
            "millwright-document",
            "millwright-identity",
            "millwright-package",
            "millwright-pipeline",
            "millwright-summary",
            "edge-core",
            "edge-ipc",
            "edge-strings",
            "edge-vision",
        ],
    ),
    // The spec of kind Pipeline is that of a pipeline file, word for word.
    ("fleet-api", &["millwright-pipeline", "millwright-proto"]),
    (
        // Packing a model does to pictures what a pipeline does, and profiles them the same.
        "fleetctl",
        &[
            "edge-vision",
            "fleet-api",
            "millwright-document",
            "millwright-identity",
            "millwright-package",
            "millwright-pipeline",
            "millwright-proto",
        ],
    ),
    (
        "cloudcore",
        &[
            "fleet-api",
            "fleet-core",
            "millwright-document",
            "millwright-identity",
            "millwright-package",
            "millwright-pipeline",
            "millwright-proto",
            "millwright-summary",
        ],
    ),
    (
        "millwright-tests",
        &[
            "fleet-api",
            "millwright-proto",
            "millwright-identity",
            "millwright-summary",
        ],
    ),
    ("millwright-demo", &["fleet-api", "millwright-tests"]),
    (
        "millwright-simulation",
        &[
            "edge-core",
            "fleet-core",
            "millwright-proto",
            "millwright-summary",
        ],
    ),
    (
        "millwright-simulator",
        &[
            "edge-core",
            "fleet-api",
            "millwright-identity",
            "millwright-proto",
            "millwright-summary",
            "millwright-tests",
        ],
    ),
    (
        "millwright-soak",
        &["edge-agent", "edge-core", "millwright-summary"],
    ),
    (
        "millwright-benches",
        &[
            "edge-agent",
            "edge-core",
            "edge-vision",
            "millwright-tests",
            "millwright-package",
            "millwright-proto",
            "millwright-summary",
        ],
    ),
    (
        "millwright-torture",
        &[
            "edge-agent",
            "edge-core",
            "millwright-package",
            "millwright-summary",
            "millwright-proto",
            "millwright-tests",
        ],
    ),
    ("millwright-broker", &[]),
    ("millwright-peer-stores", &[]),
];

/// Who may use `unsafe`: what reaches into memory that others hold too, and nothing else.
const MAY_BE_UNSAFE: [&str; 2] = ["edge-ipc", "edge-strings"];

/// What a crate of pure decisions must not reach, not even through others.
const NOT_IN_CORES: [&str; 14] = [
    "tokio", "mio", "sled", "quinn", "axum", "hyper", "ort", "sqlx", "reqwest", "rumqttc", "rand",
    "jiff", "chrono", "uuid",
];

/// Crates that cross borders as types or hold global state: one version each.
const ONE_VERSION: [&str; 8] = [
    "rustls",
    "axum",
    "hyper",
    "prost",
    "tonic",
    "quinn",
    "quinn-proto",
    "ndarray",
];

#[derive(Deserialize)]
struct Manifest {
    package: Package,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

#[test]
fn our_crates_depend_one_way() {
    let allowed: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    let manifests: Vec<Manifest> = super::files()
        .into_iter()
        .filter(|path| path.ends_with("Cargo.toml") && path.as_path() != Path::new("Cargo.toml"))
        .map(|path| {
            toml::from_str(&read(&path))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    let mut findings = Vec::new();
    for Manifest {
        package,
        dependencies,
    } in &manifests
    {
        let Some(may) = allowed.get(package.name.as_str()) else {
            findings.push(format!("{} is not in the list of crates", package.name));
            continue;
        };
        findings.extend(
            dependencies
                .keys()
                .filter(|name| allowed.contains_key(name.as_str()) && !may.contains(&name.as_str()))
                .map(|name| format!("{} must not use {name}", package.name)),
        );
    }
    check("dependencies go one way", &findings);
}

#[test]
fn unsafe_code_stays_in_the_crates_that_are_for_it_and_says_why() {
    let mut findings = Vec::new();
    let workspace: toml::Value = toml::from_str(&read(Path::new("Cargo.toml"))).expect("TOML");
    let common = &workspace["workspace"];
    for path in super::files() {
        if !path.ends_with("Cargo.toml") || path.as_path() == Path::new("Cargo.toml") {
            continue;
        }
        let manifest: toml::Value = toml::from_str(&read(&path)).expect("manifests are TOML");
        let own = |table: &toml::Value, group: &str, lint: &str| {
            let level = table.get("lints")?.get(group)?.get(lint)?.as_str()?;
            Some(level.to_owned())
        };
        let shares = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        let table = if shares.is_some() { common } else { &manifest };
        let name = manifest["package"]["name"].as_str().unwrap_or_default();
        let (group, lint, level) = if MAY_BE_UNSAFE.contains(&name) {
            ("clippy", "undocumented_unsafe_blocks", "deny")
        } else {
            ("rust", "unsafe_code", "forbid")
        };
        if own(table, group, lint).as_deref() != Some(level) {
            findings.push(format!("{name} does not {level} {lint}"));
        }
    }
    check("unsafe code is rare and explained", &findings);
}

#[test]
fn the_cores_reach_no_io_no_clock_and_no_randomness() {
    let mut findings = Vec::new();
    for core in ["edge-core", "fleet-core"] {
        let reached = normal_dependencies(core);
        findings.extend(
            NOT_IN_CORES
                .iter()
                .filter(|name| reached.contains(**name))
                .map(|name| format!("{core} reaches {name}")),
        );
        // ring draws no randomness for digests and verification, which is all that can be reached from here.
        let drawing = parents_of("getrandom", core);
        findings.extend(
            drawing
                .iter()
                .filter(|parent| *parent != "ring")
                .map(|parent| format!("{core} draws randomness through {parent}")),
        );
        let own = read(Path::new(if core == "edge-core" {
            "edge-agent/core/clippy.toml"
        } else {
            "cloudcore/core/clippy.toml"
        }));
        if own != read(Path::new("edge-agent/core/clippy.toml")) {
            findings.push(format!(
                "{core} has other bans in its clippy.toml than edge-core"
            ));
        }
    }
    check("decisions are pure", &findings);
}

fn normal_dependencies(package: &str) -> BTreeSet<String> {
    tree(&["-p", package, "-e", "normal"])
}

/// Who, on the way from `package`, uses `dependency` directly.
fn parents_of(dependency: &str, package: &str) -> BTreeSet<String> {
    let tree = cargo_tree(&["-p", package, "-e", "normal", "--prefix", "depth"]);
    let mut way: Vec<&str> = Vec::new();
    let mut parents = BTreeSet::new();
    for line in tree.lines() {
        let (depth, rest) = line.split_at(line.find(|c: char| !c.is_ascii_digit()).unwrap_or(0));
        let name = rest.split(' ').next().unwrap_or_default();
        way.truncate(depth.parse().unwrap_or_default());
        if name == dependency {
            parents.extend(way.last().map(|parent| (*parent).to_owned()));
        }
        way.push(name);
    }
    parents
}

fn tree(arguments: &[&str]) -> BTreeSet<String> {
    cargo_tree(&[arguments, &["--prefix", "none"]].concat())
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn cargo_tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--no-dedupe"])
        .args(arguments)
        .current_dir(checkout())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
}

#[test]
fn what_crosses_borders_has_one_version() {
    let lock: Lock = toml::from_str(&read(Path::new("Cargo.lock"))).expect("Cargo.lock is TOML");
    let mut findings = Vec::new();
    for name in ONE_VERSION {
        let versions: Vec<_> = lock
            .package
            .iter()
            .filter(|package| package.name == name)
            .map(|package| &package.version)
            .collect();
        if versions.len() > 1 {
            findings.push(format!("{name} has the versions {versions:?}"));
        }
    }
    for banned in [
        "openssl-sys",
        "aws-lc-rs",
        "native-tls",
        "bincode",
        "serde_yaml",
    ] {
        if lock.package.iter().any(|package| package.name == banned) {
            findings.push(format!(
                "{banned} is in the tree; deny.toml says why it must not be"
            ));
        }
    }
    check("one TLS, one HTTP, one wire format", &findings);
}
