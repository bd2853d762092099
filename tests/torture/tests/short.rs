//! The tortures in a short form: seconds each, with seeds of their own, so that a failure repeats.

use std::process::Command;

/// Runs one and returns its line, which is printed only when no promise was broken.
fn torture(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_millwright-torture"))
        .args(arguments)
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}:\n{errors}\n{line}");
    line
}

/// The figure `name` of an outcome.
fn figure(line: &str, name: &str) -> u64 {
    let start = line
        .find(&format!("\"{name}\":"))
        .expect("the figure is there")
        + name.len()
        + 3;
    let digits: String = line[start..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

#[test]
fn nothing_promised_is_lost_or_doubled_by_kills() {
    let line = torture(&["kills", "--kills", "40", "--seed", "1"]);
    assert!(figure(&line, "kills_while_recording") > 0, "{line}");
    assert!(figure(&line, "promised") > 0, "{line}");
}

#[test]
fn no_damage_to_a_closed_store_is_silent() {
    let line = torture(&["corruption", "--cases", "300", "--seed", "1"]);
    assert!(figure(&line, "declared") > 0, "{line}");
    assert!(figure(&line, "repaired") > 0, "{line}");
    assert_eq!(figure(&line, "silent"), 0, "{line}");
}

#[test]
fn nothing_promised_is_lost_by_power_cuts() {
    let line = torture(&["power", "--halts", "30", "--seed", "1"]);
    assert!(figure(&line, "promised") > 0, "{line}");
}

#[test]
fn a_disk_that_fails_is_a_named_error_and_ends_by_itself() {
    for fault in ["fdatasync answers EIO", "pwrite64 answers EIO"] {
        let line = torture(&["faults", "--seed", "1", "--only", fault]);
        assert!(line.contains(fault), "{line}");
    }
}

#[test]
fn a_full_disk_is_a_named_error_and_loses_nothing() {
    let line = torture(&["faults", "--seed", "1", "--only", "a disk filled"]);
    assert!(line.contains("a disk filled to the last byte"), "{line}");
}

#[test]
fn no_decoder_panics_hangs_or_takes_what_it_cannot_give_back() {
    let line = torture(&["fuzz", "--executions", "20000", "--seed", "1"]);
    assert_eq!(figure(&line, "decoders"), 9, "{line}");
    assert!(figure(&line, "taken") > 0, "{line}");
    assert!(figure(&line, "refused") > 0, "{line}");
}
