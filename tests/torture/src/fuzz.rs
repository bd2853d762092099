//! Decoders fed with sound bytes that were changed at random: each answers with a value or an error, soon.
//!
//! ```text
//! golden bytes ─▶ 1 to 8 changes (flip, set, cut, insert, repeat, splice with another) ─▶ decoder
//! ```
//!
//! What is found: a panic, an answer that takes longer than [`ANSWER_LIMIT`], and a stored form that is decoded but not
//! read back the same after it was encoded. Every execution is drawn from the seed, the decoder and its number, so that
//! a finding repeats.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millwright_package::{Manifest, signer_hint};
use millwright_proto::frame::decode_body;
use millwright_proto::link;
use millwright_summary::Window;
use serde::Serialize;

use crate::report::{Outcome, Progress};

/// A kilobyte is decoded in microseconds; so long is either a loop or a machine that does something else.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How often an input has to take longer than [`ANSWER_LIMIT`] in a row: a machine that does something else seldom does
/// so at the same input again.
const SLOW_ANSWERS: usize = 3;

/// Changes of one execution.
const CHANGES_MAX: usize = 8;

/// Longest input: what grows by repeating would else only measure the copying.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Executions between two looks at the clock.
const BATCH: u64 = 1_000;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// Executions of each decoder.
    #[arg(long, default_value_t = 100_000)]
    executions: u64,
    /// Only decoders whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    decoders: u64,
    executions: u64,
    /// Inputs that were taken.
    taken: u64,
    /// Inputs that were refused with an error.
    refused: u64,
    slowest_ms: f64,
}

/// Takes or refuses an input; an `Err` is a finding.
type Decode = fn(&[u8]) -> Result<bool, String>;

struct Decoder {
    name: &'static str,
    /// Sound inputs.
    samples: &'static [&'static str],
    form: Form,
    decode: Decode,
}

/// How samples are written down.
enum Form {
    Hex,
    Text,
}

macro_rules! golden {
    ($($name:literal),*) => {
        &[$(include_str!(concat!("../../../proto/golden/v1/", $name, ".hex"))),*]
    };
}

macro_rules! signed {
    ($name:literal) => {
        &[include_str!(concat!(
            "../../../proto/package/golden/signed-by-model-signing/",
            $name
        ))]
    };
}

const DECODERS: [Decoder; 9] = [
    hex(
        "uplink",
        golden!(
            "uplink-hello",
            "uplink-record",
            "uplink-gap",
            "uplink-applied"
        ),
        message::<link::Uplink>,
    ),
    hex(
        "downlink",
        golden!(
            "downlink-welcome",
            "downlink-ack",
            "downlink-desired",
            "downlink-fenced",
            "downlink-come-back"
        ),
        message::<link::Downlink>,
    ),
    hex(
        "enrollment",
        golden!("enroll-request"),
        message::<link::EnrollRequest>,
    ),
    hex(
        "renewal",
        golden!("renew-request"),
        message::<link::RenewRequest>,
    ),
    hex(
        "desired-state",
        golden!("desired-document"),
        message::<link::DesiredDocument>,
    ),
    hex(
        "blob-request",
        golden!("blob-request"),
        message::<link::BlobRequest>,
    ),
    hex("window", golden!("window"), window),
    text("manifest", signed!("model.yaml"), manifest),
    text("signature", signed!("model.sig"), signature),
];

const fn hex(name: &'static str, samples: &'static [&'static str], decode: Decode) -> Decoder {
    let form = Form::Hex;
    Decoder {
        name,
        samples,
        form,
        decode,
    }
}

const fn text(name: &'static str, samples: &'static [&'static str], decode: Decode) -> Decoder {
    let form = Form::Text;
    Decoder {
        name,
        samples,
        form,
        decode,
    }
}

fn message<M: prost::Message + Default>(bytes: &[u8]) -> Result<bool, String> {
    Ok(decode_body::<M>(Bytes::copy_from_slice(bytes)).is_ok())
}

/// What is taken is stored, merged and sent on, so it must come back the same.
fn window(bytes: &[u8]) -> Result<bool, String> {
    let Ok(window) = Window::decode(bytes) else {
        return Ok(false);
    };
    match Window::decode(&window.encode()) {
        Ok(again) if again.encode() == window.encode() => Ok(true),
        Ok(_) => Err("a window that was taken is another one when it is read back".to_owned()),
        Err(error) => Err(format!("a window that was taken is not read back: {error}")),
    }
}

fn manifest(bytes: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(bytes);
    Ok(Manifest::parse(&text, "model.yaml").is_ok())
}

fn signature(bytes: &[u8]) -> Result<bool, String> {
    Ok(signer_hint(&String::from_utf8_lossy(bytes)).is_ok())
}

/// Runs it.
///
/// # Errors
/// When a sound sample is refused, which says that the samples are stale; findings are in the outcome.
pub(crate) fn run(fuzz: &Fuzz, seed: u64) -> Result<Outcome<Figures>> {
    let decoders: Vec<_> = DECODERS
        .iter()
        .filter(|decoder| decoder.name.contains(&fuzz.only))
        .collect();
    let total = fuzz.executions * decoders.len() as u64;
    let mut progress = Progress::new("fuzz", total, seed);
    let mut figures = Figures::default();
    let mut findings = Vec::new();
    for decoder in decoders {
        let samples = decoder.samples()?;
        figures.decoders += 1;
        let mut dice = fastrand::Rng::with_seed(seed);
        for number in 1..=fuzz.executions {
            let input = changed(&samples, &mut dice);
            let (answer, took) = decoder.answer(&input);
            figures.executions += 1;
            figures.slowest_ms = figures.slowest_ms.max(took.as_secs_f64() * 1_000.0);
            let finding = match answer {
                Ok(Ok(taken)) => {
                    figures.taken += u64::from(taken);
                    figures.refused += u64::from(!taken);
                    (took > ANSWER_LIMIT).then(|| format!("took {took:?}"))
                }
                Ok(Err(finding)) => Some(finding),
                Err(_panic) => Some("panicked".to_owned()),
            };
            if let Some(finding) = finding {
                let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                findings.push(format!("{} {number}: {finding}: {hex}", decoder.name));
            }
            if number % BATCH == 0 {
                progress.at(figures.executions, findings.len() as u64);
            }
        }
    }
    Ok(Outcome {
        torture: "fuzz",
        seed,
        seconds: progress.seconds(),
        figures,
        findings_total: findings.len() as u64,
        findings: findings.into_iter().take(FINDINGS_MAX).collect(),
    })
}

/// Findings that are printed.
const FINDINGS_MAX: usize = 20;

impl Decoder {
    /// What the decoder says of an input, and how long that takes it.
    fn answer(&self, input: &[u8]) -> (std::thread::Result<Result<bool, String>>, Duration) {
        let mut shortest = Duration::MAX;
        let mut answer = Ok(Ok(false));
        for _ in 0..SLOW_ANSWERS {
            let begin = Instant::now();
            answer = catch_unwind(AssertUnwindSafe(|| (self.decode)(input)));
            shortest = shortest.min(begin.elapsed());
            if shortest <= ANSWER_LIMIT {
                break;
            }
        }
        (answer, shortest)
    }

    /// The sound inputs, each of which is taken.
    fn samples(&self) -> Result<Vec<Vec<u8>>> {
        let bytes = |text: &&str| match self.form {
            Form::Text => Ok(text.as_bytes().to_vec()),
            Form::Hex => {
                unhex(text).with_context(|| format!("a sample of {} is no hex", self.name))
            }
        };
        let samples = self.samples.iter().map(bytes).collect::<Result<Vec<_>>>()?;
        for sample in &samples {
            let taken = (self.decode)(sample);
            ensure!(
                taken == Ok(true),
                "a sample of {} is refused: {taken:?}",
                self.name
            );
        }
        Ok(samples)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

/// A sample with a few changes.
fn changed(samples: &[Vec<u8>], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = samples[dice.usize(..samples.len())].clone();
    for _ in 0..dice.usize(1..=CHANGES_MAX) {
        if input.is_empty() {
            break;
        }
        let at = dice.usize(..input.len());
        match dice.u8(..7) {
            0 => input[at] ^= 1 << dice.u8(..8),
            1 => input[at] = [0, 1, 0x7f, 0x80, 0xff][dice.usize(..5)],
            2 => input.truncate(at),
            3 => input.insert(at, dice.u8(..)),
            4 => drop(input.remove(at)),
            5 => {
                let end = at + dice.usize(..=input.len() - at);
                let part = input[at..end].to_vec();
                let room = INPUT_BYTES_MAX.saturating_sub(input.len());
                input.splice(at..at, part.into_iter().take(room));
            }
            _ => {
                let other = &samples[dice.usize(..samples.len())];
                let from = dice.usize(..other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}
