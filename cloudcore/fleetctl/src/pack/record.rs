//! Running the model: what it answers to golden inputs and samples, and whether the finished package does again.

use std::fs;
use std::path::{Path, PathBuf};

use millwright_package::probe::{Ask, Measured, Ready, Told};

use super::agent::{Probe, unexpected};
use super::array::{self, Array};
use super::data::{self, Reader};
use super::draft::Draft;
use super::profile::{Confidence, Counts, Maker};
use super::{Build, PROFILE_FILE, PackError};
use crate::package::GOLDEN_BYTES_MAX;

/// Longest time the latency is measured for, in seconds.
const MEASURE_SECONDS: u32 = 10;

/// What is known once the model has run.
pub(super) struct Recorded {
    /// The file with inputs to measure with, and what they are, for people.
    pub(super) trial: (Option<PathBuf>, String),
    pub(super) profile: Option<Counts>,
}

impl<'a> Build<'a> {
    /// Runs the model on golden inputs and samples, and keeps what came out.
    pub(super) fn record(&self, draft: &mut Draft<'a>) -> Result<Recorded, PackError> {
        let reader = Reader::of(draft, self.pictures.as_ref());
        let golden = self.args.golden.iter().map(|path| reader.request(path));
        let golden: Vec<array::Assigned> = golden.collect::<Result<_, _>>()?;
        let samples = self.args.samples.iter().map(|path| reader.sample(path));
        let samples: Vec<data::Sample> = samples.collect::<Result<_, _>>()?;
        if golden.is_empty() {
            draft.check_closed()?;
        }
        self.write_manifest(draft)?;
        let (mut probe, _) = self.open()?;

        let mut trial = (None, "zeros".to_owned());
        if golden.is_empty() {
            let seen = self.answer(&mut probe, None)?;
            draft.see(&seen);
        }
        for (path, set) in self.args.golden.iter().zip(golden) {
            self.bar
                .set_message(format!("recording {}", path.display()));
            let inputs = self.scratch(&format!("golden-{}.safetensors", draft.golden.len()));
            array::write(&inputs, &set.inputs, &[])?;
            let mut answer = self
                .answer(&mut probe, Some(inputs.clone()))
                .map_err(|error| match error {
                    PackError::Agent(message) => PackError::data(path, message),
                    other => other,
                })?;
            draft.see(&answer);
            for expected in set.outputs {
                answer.retain(|array| array.name != expected.name);
                answer.push(expected);
            }
            let file = self.write_golden(path, &set.inputs, &answer, draft)?;
            if trial.0.is_none() {
                trial = (Some(inputs), file.clone());
            }
            draft.golden.push(file);
        }
        let profile = self.profile(draft, samples, &mut probe)?;
        if profile.is_some() {
            draft.profile = Some(PROFILE_FILE.to_owned());
        }
        Ok(Recorded { trial, profile })
    }

    /// Opens the package as it stands.
    fn open(&self) -> Result<(Probe<'_>, Ready), PackError> {
        let opened = self.agent.probe(&self.package());
        opened.map_err(|error| match (error, self.args.memory_mib) {
            (PackError::Agent(message), Some(mib)) if message.contains("alloc") => PackError::flag(
                format!("--memory-mib {mib}"),
                format!("the model does not open with so little: {message}"),
            ),
            (error, _) => error,
        })
    }

    fn answer(
        &self,
        probe: &mut Probe<'_>,
        inputs: Option<PathBuf>,
    ) -> Result<Vec<Array>, PackError> {
        let answers = self.scratch("answer.safetensors");
        let ask = Ask::Answer {
            inputs,
            answers: answers.clone(),
        };
        match probe.ask(&ask)? {
            Told::Answered { .. } => array::outputs(&answers),
            other => Err(unexpected(&other)),
        }
    }

    fn write_golden(
        &self,
        from: &Path,
        inputs: &[Array],
        outputs: &[Array],
        draft: &Draft<'_>,
    ) -> Result<String, PackError> {
        if outputs.is_empty() {
            let problem = "the model gives nothing but text, which a golden set cannot hold: leave --golden out";
            return Err(PackError::data(from, problem));
        }
        let bytes: usize = inputs
            .iter()
            .chain(outputs)
            .map(|array| array.data.len())
            .sum();
        if bytes as u64 > GOLDEN_BYTES_MAX {
            let problem = format!(
                "makes a golden set of {bytes} bytes, and one may have {GOLDEN_BYTES_MAX}: give fewer rows or a smaller picture"
            );
            return Err(PackError::data(from, problem));
        }
        let directory = self.package().join("golden");
        fs::create_dir_all(&directory).map_err(PackError::files("make", &directory))?;
        let stem = from
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("set");
        let mut file = format!("golden/{stem}.safetensors");
        if draft.golden.contains(&file) {
            file = format!("golden/{stem}-{}.safetensors", draft.golden.len() + 1);
        }
        array::write(&self.package().join(&file), inputs, outputs)?;
        Ok(file)
    }

    /// Writes `profile.json` when there are samples.
    fn profile(
        &self,
        draft: &Draft<'_>,
        samples: Vec<data::Sample>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<Counts>, PackError> {
        if samples.is_empty() {
            return Ok(None);
        }
        self.bar.set_message("running the samples");
        let confidence = match self.args.confidence {
            Some(_) => Confidence::Named,
            None => Confidence::None,
        };
        let mut maker = Maker {
            reader: Reader::of(draft, self.pictures.as_ref()),
            probe,
            names: &self.args.features,
            class_of: self.args.class.as_deref(),
            confidence,
            scratch: self.place.path(),
            bar: self.bar,
        };
        let (profile, counts) = maker.make(self.model.clone(), samples)?;
        if counts == Counts::default() {
            return Err(PackError::flag(
                "--sample",
                "there is nothing to profile: the inputs are no rows of up to 64 features and no pictures. Name a confidence \
                 with --confidence OUTPUT=max or a class with --class OUTPUT, or leave --sample out",
            ));
        }
        let path = self.package().join(PROFILE_FILE);
        fs::write(&path, profile.to_json()).map_err(PackError::files("write", &path))?;
        Ok(Some(counts))
    }

    /// Opens the finished package as a node would, golden sets and all, and measures it.
    pub(super) fn prove(&self, recorded: &Recorded) -> Result<(Ready, Measured), PackError> {
        let golden = |error| match error {
            PackError::Agent(problem) if problem.contains("golden") => PackError::Golden {
                problem,
                advice: "expected outputs in a --golden file may be of another version of the model; without any, the model does \
                         not answer the same twice, and a golden set cannot be recorded of it. --absolute-tolerance and \
                         --relative-tolerance say what may differ",
            },
            other => other,
        };
        let (mut probe, ready) = self.open().map_err(golden)?;
        self.bar.set_message("measuring");
        let ask = Ask::Measure {
            inputs: recorded.trial.0.clone(),
            runs: self.args.runs,
            seconds: MEASURE_SECONDS,
        };
        match probe.ask(&ask)? {
            Told::Measured(measured) => Ok((ready, measured)),
            other => Err(unexpected(&other)),
        }
    }
}
