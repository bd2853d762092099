//! Rules of source files: sizes, names, module docs, no dead files.

use std::path::Path;

use super::{check, files, files_ending, read};

/// A file over this is two files; generated code aside.
const FILE_LINES_MAX: usize = 600;

/// A crate's front page holds its doc and its modules.
const LIB_LINES_MAX: usize = 120;

/// Tests that outgrow this move to a sibling file.
const INLINE_TEST_LINES_MAX: usize = 100;

/// A function over this has more than one job.
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = [
    "utils", "util", "common", "helpers", "helper", "manager", "misc",
];

#[test]
fn source_files_keep_their_sizes() {
    let mut findings = Vec::new();
    for path in files_ending("rs") {
        let text = read(&path);
        let lines = text.lines().count();
        let limit = if path.ends_with("src/lib.rs") {
            LIB_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > limit {
            findings.push(format!(
                "{} has {lines} lines, at most {limit}",
                path.display()
            ));
        }
        let inline = text
            .lines()
            .skip_while(|line| *line != "mod tests {")
            .count();
        if inline > INLINE_TEST_LINES_MAX {
            findings.push(format!(
                "{} has {inline} lines of inline tests",
                path.display()
            ));
        }
    }
    check("a file does one thing", &findings);
}

#[test]
fn functions_keep_their_size() {
    let mut findings = Vec::new();
    for path in files_ending("rs") {
        let text = read(&path);
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if let Some((start, start_indent, name)) = &open {
                if indent == *start_indent && line.trim_start().starts_with('}') {
                    if number - start > FUNCTION_LINES_MAX {
                        findings.push(format!("{}:{}: {name}", path.display(), start + 1));
                    }
                    open = None;
                }
            } else if is_function(line) && !line.trim_end().ends_with(['}', ';']) {
                open = Some((number, indent, line.trim().to_owned()));
            }
        }
    }
    check(
        &format!("a function has at most {FUNCTION_LINES_MAX} lines"),
        &findings,
    );
}

fn is_function(line: &str) -> bool {
    let words = line.trim_start();
    [
        "fn ",
        "pub fn ",
        "pub(crate) fn ",
        "async fn ",
        "pub async fn ",
        "pub(crate) async fn ",
        "pub(super) fn ",
        "pub(super) async fn ",
    ]
    .iter()
    .any(|start| words.starts_with(start))
}

#[test]
fn names_say_what_is_inside() {
    let mut findings = Vec::new();
    for path in files() {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            findings.push(format!("{} is named after nothing", path.display()));
        }
        if path.ends_with("mod.rs") {
            findings.push(format!("{}: write foo.rs beside foo/", path.display()));
        }
    }
    check("names say what is inside", &findings);
}

#[test]
fn every_source_file_begins_with_its_doc() {
    let findings: Vec<_> = files_ending("rs")
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !read(path).starts_with("//!"))
        .map(|path| format!("{} has no module doc", path.display()))
        .collect();
    check("a file says what it owns", &findings);
}

#[test]
fn every_source_file_is_reached_from_its_crate() {
    let sources = files_ending("rs");
    let findings: Vec<_> = sources
        .iter()
        .filter(|path| !is_root(path) && !is_declared(path))
        .map(|path| format!("{} is in no module tree", path.display()))
        .collect();
    check("no dead files", &findings);
}

fn is_root(path: &Path) -> bool {
    let parent = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name == "build.rs"
        || matches!(name, "main.rs" | "lib.rs")
        || (matches!(parent, Some("tests" | "bin" | "examples")) && path.components().count() > 1)
}

/// Whether the file that should declare this one says `mod <name>`.
fn is_declared(path: &Path) -> bool {
    let name = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let Some(parent) = path.parent() else {
        return false;
    };
    [
        parent.with_extension("rs"),
        parent.join("lib.rs"),
        parent.join("main.rs"),
    ]
    .iter()
    .filter(|candidate| millwright_tests::checkout().join(candidate).is_file())
    .any(|candidate| {
        read(candidate).lines().any(|line| {
            let words = line
                .trim()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ");
            words.trim_start_matches("pub ") == format!("mod {name};")
        })
    })
}

#[test]
fn nothing_is_left_unfinished() {
    // Split so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("XX", "X"),
    ];
    let mut findings = Vec::new();
    for path in files_ending("rs") {
        for (number, line) in read(&path).lines().enumerate() {
            findings.extend(
                marks
                    .iter()
                    .filter(|mark| line.contains(*mark))
                    .map(|mark| format!("{}:{}: {mark}", path.display(), number + 1)),
            );
        }
    }
    check("what is committed is done", &findings);
}
