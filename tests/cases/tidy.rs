//! The rules of the house that a script can check. Each failure names the file and the rule.

mod documents;
mod manifests;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;

use millwright_tests::checkout;

/// Fails with every finding at once, so that one run shows all there is to mend.
fn check(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// Every tracked or new file of the checkout that git does not ignore, relative to its top.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(checkout())
        .output()
        .expect("git lists the checkout");
    assert!(
        output.status.success(),
        "git ls-files ended with {}",
        output.status
    );
    String::from_utf8(output.stdout)
        .expect("file names are UTF-8")
        .lines()
        .map(PathBuf::from)
        .filter(|path| checkout().join(path).is_file())
        .collect()
}

fn files_ending(ending: &str) -> Vec<PathBuf> {
    let mut files = files();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == ending)
    });
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(checkout().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
