//! What `model pack` tells: what was made, and how it ran on this machine.

use std::fmt::Write as _;
use std::io::Write;

use millwright_package::TensorSpec;
use millwright_package::probe::{GoldenDifference, Measured, Ready};
use serde::Serialize;

use super::profile::Counts;
use crate::output::{self, Format, bytes};
use crate::package::PackageDirectory;

/// What was made, and how it ran.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) directory: String,
    pub(super) files: usize,
    pub(super) size_bytes: u64,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) golden: Vec<GoldenDifference>,
    pub(super) profile: Option<Counts>,
    pub(super) run: Run,
    pub(super) signed_by: Option<String>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

/// How it ran on this machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    /// What was given to it.
    pub(super) with: String,
    pub(super) machine: String,
    pub(super) threads: u16,
    #[serde(flatten)]
    pub(super) ready: Opened,
    #[serde(flatten)]
    pub(super) measured: Measured,
}

/// How it was opened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Opened {
    provider: String,
    onnxruntime: String,
    load_ms: u64,
    open_memory_bytes: Option<u64>,
}

impl Port {
    pub(super) fn of(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            datatype: spec.datatype.to_string(),
            shape: spec.dims(),
        }
    }
}

impl Opened {
    pub(super) fn of(ready: &Ready) -> Self {
        Self {
            provider: ready.provider.to_string(),
            onnxruntime: ready.onnxruntime.clone(),
            load_ms: ready.load_ms,
            open_memory_bytes: ready.memory_bytes,
        }
    }
}

impl Report {
    pub(super) fn print(&self, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        match format {
            Format::Json => output::json(out, self)?,
            Format::Yaml => output::yaml(out, self)?,
            Format::Name => writeln!(out, "ModelVersion/{}@{}", self.model, self.version)?,
            Format::Table | Format::Wide => write!(out, "{}", self.text())?,
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        let (files, size) = (self.files, bytes(self.size_bytes));
        writeln!(
            to,
            "{}@{} in {}: {files} files, {size}",
            self.model, self.version, self.directory
        )?;
        for (side, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                writeln!(
                    to,
                    "  {side:<8} {} {} {:?}",
                    port.name, port.datatype, port.shape
                )?;
            }
        }
        for (file, outputs, off) in sets(&self.golden) {
            let outputs = counted(outputs, "output");
            let off = short(off);
            writeln!(
                to,
                "  {:<8} {file}: {outputs} came out again, at most {off} off",
                "golden"
            )?;
        }
        if let Some(profile) = &self.profile {
            writeln!(to, "  {:<8} {}", "profile", contents(profile))?;
        }
        let Run {
            with,
            machine,
            threads,
            ready,
            measured,
        } = &self.run;
        let threads = counted(usize::from(*threads), "thread");
        writeln!(
            to,
            "  {:<8} p50 {}, p90 {}, p99 {}, slowest {} of {} with {with}; {} with {threads}",
            "latency",
            time(measured.p50_us),
            time(measured.p90_us),
            time(measured.p99_us),
            time(measured.max_us),
            counted(measured.runs as usize, "run"),
            ready.provider
        )?;
        let memory = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), bytes);
        writeln!(
            to,
            "  {:<8} {} open, {} after the runs, {} at most; open after {} ms",
            "memory",
            memory(ready.open_memory_bytes),
            memory(measured.memory_bytes),
            memory(measured.memory_peak_bytes),
            ready.load_ms
        )?;
        writeln!(to, "  {:<8} {machine}", "machine")?;
        if let Some(key) = &self.signed_by {
            writeln!(to, "  {:<8} by {key}", "signed")?;
        }
        Ok(())
    }
}

/// The golden sets in their order, each with how many outputs were compared and the largest difference.
fn sets(differences: &[GoldenDifference]) -> Vec<(&str, usize, f64)> {
    let mut sets: Vec<(&str, usize, f64)> = Vec::new();
    for difference in differences {
        match sets.last_mut() {
            Some((file, outputs, off)) if *file == difference.file => {
                *outputs += 1;
                *off = off.max(difference.max_absolute);
            }
            Some(_) | None => sets.push((&difference.file, 1, difference.max_absolute)),
        }
    }
    sets
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What of the samples the profile holds.
fn contents(profile: &Counts) -> String {
    let part = |count: usize, text: String| (count > 0).then_some(text);
    let (rows, pictures) = (
        counted(profile.rows, "row"),
        counted(profile.pictures, "picture"),
    );
    let (features, answers) = (
        counted(profile.features, "feature"),
        counted(profile.confidences, "answer"),
    );
    let classes = counted(profile.classes, "answer");
    let parts = [
        part(profile.features, format!("{features} of {rows}")),
        part(
            profile.pictures,
            format!("light and sharpness of {pictures}"),
        ),
        part(profile.confidences, format!("the confidence of {answers}")),
        part(profile.classes, format!("the class of {classes}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

fn time(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{:02} ms", us / 1000, us % 1000 / 10),
        10_000.. => format!("{} ms", us / 1000),
    }
}

fn short(number: f64) -> String {
    if number == 0.0 {
        "0".to_owned()
    } else {
        format!("{number:.1e}")
    }
}

/// What machine this is, for whoever compares the figures with those of another.
pub(super) fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    let model = model.map(|model| format!(", {model}")).unwrap_or_default();
    format!("{}, {processors} processors{model}", std::env::consts::ARCH)
}

/// Files and bytes of a package.
pub(super) fn size(package: &PackageDirectory) -> (usize, u64) {
    (package.files.entries().len(), package.files.size_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_sets_are_told_by_file_with_the_largest_difference() {
        let off = |file: &str, max_absolute| GoldenDifference {
            file: file.to_owned(),
            output: "y".to_owned(),
            max_absolute,
        };
        let told = [off("a", 0.5), off("a", 0.25), off("b", 0.0)];
        assert_eq!(sets(&told), [("a", 2, 0.5), ("b", 1, 0.0)]);
    }

    #[test]
    fn times_and_counts_read_as_people_say_them() {
        assert_eq!(
            [70, 1230, 10_000, 104_500].map(time),
            ["0.07 ms", "1.23 ms", "10 ms", "104 ms"]
        );
        let profile = Counts {
            features: 9,
            rows: 1,
            ..Counts::default()
        };
        assert_eq!(contents(&profile), "9 features of 1 row");
        assert_eq!(
            (short(0.0), short(0.00123)),
            ("0".to_owned(), "1.2e-3".to_owned())
        );
    }
}
