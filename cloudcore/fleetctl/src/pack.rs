//! `fleetctl model pack MODEL.onnx`: from an ONNX file and some data to a package that is proven on this machine.
//!
//! ```text
//! model.onnx ─▶ agent: describe ─▶ Draft (inputs, outputs, flags) ─▶ model.yaml
//! --golden   ─▶ agent: answer   ─▶ golden/*.safetensors               │
//! --sample   ─▶ agent: count    ─▶ profile.json                       ▼
//!                        all of it below .NAME-VERSION.* ─▶ checked as `push` does, opened and run by the agent ─▶ DIR
//! ```
//!
//! Owns what goes into a package; what is a good one decides [`crate::package`], and what the model does is found out
//! by the agent ([`agent`]). Nothing is in `DIR` until everything is right: the package is built in a directory beside
//! it, which is renamed at the end and removed when anything fails.

pub(crate) mod arguments;

mod agent;
mod array;
mod data;
mod draft;
mod error;
mod npz;
mod pictures;
mod profile;
mod record;
mod report;
mod table;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use millwright_package::probe::{Measured, Ready};
use millwright_package::{Datatype, MANIFEST_FILE, Manifest, SigningKey};
use millwright_proto::ids::ModelVersion;

use self::agent::Agent;
use self::arguments::PackArgs;
use self::draft::Draft;
pub(crate) use self::error::PackError;
use self::pictures::Pictures;
use self::report::{Opened, Port, Report, Run};
use crate::package::{PackageDirectory, PackageError, onnx};

/// The model inside the package.
const MODEL_FILE: &str = "model.onnx";

const PROFILE_FILE: &str = "profile.json";

/// How often a progress line moves while nothing else does.
const TICK: Duration = Duration::from_millis(120);

/// Builds the package and tells about it.
pub(crate) fn run(
    args: &PackArgs,
    model: &ModelVersion,
    key: Option<&SigningKey>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let directory = args.out.clone().unwrap_or_else(|| {
        PathBuf::from(format!(
            "{}-{}",
            model.model.as_str(),
            model.version.as_str()
        ))
    });
    let bar = progress();
    let report = Build::begin(args, model, &directory, &bar)?.finish(key, &directory);
    bar.finish_and_clear();
    let report = report?;
    report.print(args.output.output, out)?;
    report
        .notes
        .iter()
        .for_each(|note| eprintln!("Note: {note}"));
    let shown = directory.display();
    if key.is_some() {
        eprintln!("Next: fleetctl model push {shown}");
    } else {
        eprintln!(
            "Next: look at {shown}/{MANIFEST_FILE}, then fleetctl model sign {shown} --key signing.key"
        );
    }
    Ok(())
}

/// A package that is being built.
struct Build<'a> {
    args: &'a PackArgs,
    model: &'a ModelVersion,
    /// Everything lies below it; vanishes with this.
    place: tempfile::TempDir,
    agent: Agent,
    pictures: Option<Pictures>,
    bar: &'a ProgressBar,
    notes: Vec<String>,
}

impl<'a> Build<'a> {
    /// Checks what can be checked at once and lays out the files that are only copied.
    fn begin(
        args: &'a PackArgs,
        model: &'a ModelVersion,
        directory: &Path,
        bar: &'a ProgressBar,
    ) -> Result<Self, PackError> {
        if fs::symlink_metadata(directory).is_ok() {
            return Err(PackError::Exists(directory.to_owned()));
        }
        for (flag, value) in [
            ("--absolute-tolerance", args.absolute_tolerance),
            ("--relative-tolerance", args.relative_tolerance),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(PackError::flag(
                    flag,
                    format!("{value} must be a number, 0 or more"),
                ));
            }
        }
        let file = fs::File::open(&args.model).map_err(PackError::files("read", &args.model))?;
        onnx::check(file).map_err(|source| PackageError::Onnx {
            path: args.model.clone(),
            source,
        })?;
        let pictures = args.preprocess.as_deref().map(Pictures::read).transpose()?;
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let place = tempfile::Builder::new()
            .prefix(&format!(
                ".{}-{}.",
                model.model.as_str(),
                model.version.as_str()
            ))
            .tempdir_in(parent)
            .map_err(PackError::files("make a directory in", parent))?;
        let agent = Agent::find(
            args.agent.as_deref(),
            args.onnxruntime.as_deref(),
            place.path(),
        )?;
        let build = Self {
            args,
            model,
            place,
            agent,
            pictures,
            bar,
            notes: Vec::new(),
        };
        build.copy_files()?;
        Ok(build)
    }

    fn copy_files(&self) -> Result<(), PackError> {
        let package = self.package();
        fs::create_dir(&package).map_err(PackError::files("make", &package))?;
        self.bar.set_message("copying the model");
        let mut files = vec![(self.args.model.as_path(), MODEL_FILE.into())];
        for path in &self.args.with {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
            files.push((path, name));
        }
        for (from, name) in files {
            let to = package.join(&name);
            if to.exists() || name == MANIFEST_FILE || name == PROFILE_FILE || name == "golden" {
                return Err(PackError::Taken(from.to_owned()));
            }
            fs::copy(from, &to).map_err(PackError::files("copy", from))?;
        }
        Ok(())
    }

    fn package(&self) -> PathBuf {
        self.place.path().join("package")
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Everything from the first look at the model to the finished directory.
    fn finish(mut self, key: Option<&SigningKey>, directory: &Path) -> anyhow::Result<Report> {
        self.bar.set_message("opening the model");
        let described = self
            .agent
            .describe(&self.package().join(MODEL_FILE))
            .map_err(|error| self.named(error))?;
        let (name, version) = (self.model.model.as_str(), self.model.version.as_str());
        let mut draft = Draft::of(
            self.args,
            (name, version),
            MODEL_FILE.to_owned(),
            &described,
            self.pictures.as_ref(),
        )?;
        self.check_outputs(&draft)?;
        let recorded = self.record(&mut draft)?;
        self.write_manifest(&draft)?;

        self.bar.set_message("checking the package");
        let package = PackageDirectory::read(&self.package())?;
        self.bar.set_message("running the package");
        let (ready, measured) = self.prove(&recorded)?;
        if let Some(key) = key {
            let bundle = key.sign(&package.files, self.model)?;
            let path = package.signature_path();
            fs::write(&path, bundle).map_err(PackError::files("write", &path))?;
        }
        self.note(&draft, &ready, &measured);
        fs::rename(self.package(), directory).map_err(PackError::files("make", directory))?;
        let (files, size_bytes) = report::size(&package);
        Ok(Report {
            model: name.to_owned(),
            version: version.to_owned(),
            directory: directory.display().to_string(),
            files,
            size_bytes,
            inputs: draft.inputs.iter().map(Port::of).collect(),
            outputs: draft.outputs.iter().map(Port::of).collect(),
            golden: ready.golden.clone(),
            profile: recorded.profile,
            run: Run {
                with: recorded.trial.1,
                machine: report::machine(),
                threads: package.manifest.limits.threads.get(),
                ready: Opened::of(&ready),
                measured,
            },
            signed_by: key.map(|key| key.hint().to_string()),
            notes: self.notes,
        })
    }

    /// An error about the copy, as one about the file that was given.
    fn named(&self, error: PackError) -> PackError {
        let PackError::Agent(message) = error else {
            return error;
        };
        let copy = self.package().join(MODEL_FILE).display().to_string();
        let mut message = message.replace(&copy, &self.args.model.display().to_string());
        let package = self.package().display().to_string();
        let outside = ["external", "No such file", "file_size", ".data"];
        if outside.iter().any(|word| message.contains(word)) {
            message = message.replace(&package, "the package");
            message
                .push_str("; if its weights are in a file of their own, add that with --with FILE");
        }
        PackError::Agent(message)
    }

    /// Outputs that flags name are there and are numbers.
    fn check_outputs(&self, draft: &Draft<'_>) -> Result<(), PackError> {
        let confidence = self.args.confidence.as_ref().map(|flag| &flag.output);
        let named = [
            ("--class", self.args.class.as_ref()),
            ("--confidence", confidence),
        ];
        for (flag, output) in named {
            let Some(output) = output else {
                continue;
            };
            let known = draft.outputs.iter().map(|spec| format!("`{}`", spec.name));
            let problem = match draft.outputs.iter().find(|spec| spec.name == *output) {
                Some(spec) if spec.datatype == Datatype::Bytes => {
                    format!("output `{output}` is text, not numbers")
                }
                Some(_) => continue,
                None => format!(
                    "the model has no output `{output}`; its outputs are {}",
                    known.collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(PackError::flag(flag, problem));
        }
        Ok(())
    }

    fn write_manifest(&self, draft: &Draft<'_>) -> Result<Manifest, PackError> {
        let path = self.package().join(MANIFEST_FILE);
        let text = draft.yaml();
        fs::write(&path, &text).map_err(PackError::files("write", &path))?;
        Ok(Manifest::parse(&text, MANIFEST_FILE)?)
    }

    /// What the model team should know before it signs.
    fn note(&mut self, draft: &Draft<'_>, ready: &Ready, measured: &Measured) {
        let model = self.model;
        if draft.golden.is_empty() {
            self.notes.push(format!(
                "{model} has no golden set, so nothing proves it on the device before it runs: add --golden FILE"
            ));
        }
        if draft.profile.is_none() {
            self.notes.push(format!(
                "{model} has no baseline profile, so drift of its inputs is not seen: add --sample PATH"
            ));
        }
        if self.args.memory_mib.is_none()
            && let Some(peak) = measured.memory_peak_bytes
        {
            // Twice what was seen, in steps that people choose.
            let mib = (peak / (512 * 1024)).next_multiple_of(64);
            self.notes.push(format!(
                "no limit of memory is set; from what was seen, --memory-mib {mib} would leave room"
            ));
        }
        let gaps = ready.sandbox_gaps.iter();
        self.notes
            .extend(gaps.map(|gap| format!("on this machine {gap}")));
    }
}

/// What is being done.
fn progress() -> ProgressBar {
    let bar = crate::output::progress::bar(0, "{spinner} {msg} {wide_bar} {human_pos}/{human_len}");
    bar.enable_steady_tick(TICK);
    bar
}
