//! Rules of documents: links lead somewhere, commands exist, the top of the checkout keeps its names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use millwright_tests::{checkout, program};

use super::{check, files, files_ending, read};

/// Everything that may lie at the top of the checkout.
const TOP: [&str; 17] = [
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "cloudcore",
    "cross",
    "deny.toml",
    "deploy",
    "docs",
    "edge-agent",
    "proto",
];

#[test]
fn the_top_of_the_checkout_keeps_its_names() {
    let known: BTreeSet<&str> = TOP
        .into_iter()
        .chain(["clippy.toml", "rustfmt.toml", "tests"])
        .collect();
    let top: BTreeSet<String> = files()
        .iter()
        .filter_map(|path| path.iter().next()?.to_str().map(str::to_owned))
        .collect();
    let findings: Vec<_> = top
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .cloned()
        .collect();
    check("new names at the top need a decision", &findings);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for path in files_ending("md") {
        let text = read(&path);
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let directory = checkout().join(path.parent().unwrap_or(Path::new("")));
            if !directory.join(file).exists() {
                findings.push(format!("{} links to {target}", path.display()));
            }
        }
    }
    check("links lead somewhere", &findings);
}

#[test]
fn paths_named_in_the_architecture_exist() {
    let text = read(Path::new("ARCHITECTURE.md"));
    let roots = [
        "proto/",
        "edge-agent/",
        "cloudcore/",
        "tests/",
        "benches/",
        "cross/",
        "deploy/",
        "docs/",
    ];
    let findings: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            roots.iter().any(|root| word.starts_with(root)) && !word.contains([' ', '*', '{', '<'])
        })
        .filter(|word| {
            !checkout()
                .join(word.split("::").next().unwrap_or(word))
                .exists()
        })
        .map(|word| format!("ARCHITECTURE.md names {word}"))
        .collect();
    check("the map shows what is there", &findings);
}

/// Commands as documents show them: lines of `sh` blocks, continuation lines joined, prompts and comments off.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut open = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside && line.trim_start().starts_with("```sh");
            continue;
        }
        if !inside {
            continue;
        }
        let line = line.split(" #").next().unwrap_or_default().trim();
        match line.strip_suffix('\\') {
            Some(start) => open.push_str(start),
            None => commands.push(std::mem::take(&mut open) + line),
        }
    }
    commands
}

#[test]
fn commands_in_documents_exist() {
    let mut helps: BTreeMap<Vec<String>, Option<String>> = BTreeMap::new();
    let mut findings = Vec::new();
    let makefile = read(Path::new("Makefile"));
    for path in files_ending("md") {
        for command in commands(&read(&path)) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let problem = match words.split_first() {
                Some((&"make", rest)) => unknown_target(&makefile, rest),
                Some((name, rest)) => match name.rsplit('/').next() {
                    Some(name @ ("fleetctl" | "cloudcore" | "edge-agent")) => {
                        unknown_argument(&mut helps, name, rest)
                    }
                    _ => None,
                },
                None => None,
            };
            findings.extend(
                problem.map(|problem| format!("{}: `{command}`: {problem}", path.display())),
            );
        }
    }
    check("commands in documents run", &findings);
}

fn unknown_target(makefile: &str, arguments: &[&str]) -> Option<String> {
    arguments
        .iter()
        .filter(|argument| !argument.contains('='))
        .find(|target| {
            !makefile
                .lines()
                .any(|line| line.starts_with(&format!("{target}:")))
        })
        .map(|target| format!("the Makefile has no target {target}"))
}

/// Asks the program itself: follows the subcommands, then looks for every flag in that help.
fn unknown_argument(
    helps: &mut BTreeMap<Vec<String>, Option<String>>,
    program: &str,
    arguments: &[&str],
) -> Option<String> {
    let mut path = vec![program.to_owned()];
    let mut text = help(helps, &path)?;
    for word in arguments.iter().take_while(|word| !word.starts_with('-')) {
        let mut deeper = path.clone();
        deeper.push((*word).to_owned());
        match help(helps, &deeper) {
            Some(found) if text.contains(&format!("  {word}")) => (path, text) = (deeper, found),
            _ if path.len() == 1 => return Some(format!("{program} has no command {word}")),
            _ => break,
        }
    }
    arguments
        .iter()
        .filter(|word| word.starts_with("--"))
        .map(|flag| flag.split('=').next().unwrap_or(flag))
        .find(|flag| !text.contains(*flag))
        .map(|flag| format!("{} knows no {flag}", path.join(" ")))
}

fn help(helps: &mut BTreeMap<Vec<String>, Option<String>>, path: &[String]) -> Option<String> {
    helps
        .entry(path.to_vec())
        .or_insert_with(|| {
            let program = program(&path[0]).expect("the programs are built");
            let output = Command::new(program)
                .args(&path[1..])
                .arg("--help")
                .output()
                .ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .clone()
}

#[test]
fn examples_in_documents_and_deploy_are_read_by_a_parser() {
    let mut findings = Vec::new();
    for path in files() {
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        let problem = match ending {
            "toml" => toml::from_str::<toml::Value>(&read(&path))
                .err()
                .map(|error| error.to_string()),
            "json" => serde_json::from_str::<serde_json::Value>(&read(&path))
                .err()
                .map(|error| error.to_string()),
            _ => None,
        };
        findings.extend(problem.map(|problem| format!("{}: {problem}", path.display())));
    }
    check("every document parses", &findings);
}
