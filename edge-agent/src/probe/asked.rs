//! What a probed worker is asked. Errors are for people.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millwright_package::Datatype;
use millwright_package::probe::{Ask, Measured, Told};

use crate::worker::{InferInput, InferOutput, OutputSelection, Tensor, Worker, golden, numbers};

/// Largest file of inputs, as many bytes as one request and its golden set may have, twice.
const INPUTS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most runs that are measured; each is kept until the end.
const RUNS_MAX: u32 = 1_000_000;

pub(super) async fn answer(worker: &Worker, ask: Ask) -> Result<Told, String> {
    match ask {
        Ask::Answer { inputs, answers } => {
            let output = infer(worker, &request(worker, inputs.as_deref())?).await?;
            let (file, left_out) = golden::answers(&output.tensors)?;
            std::fs::write(&answers, file)
                .map_err(|error| format!("cannot write {}: {error}", answers.display()))?;
            Ok(Told::Answered { left_out })
        }
        Ask::Count {
            inputs,
            rows,
            class_of,
        } => count(worker, &inputs, rows, class_of.as_deref()).await,
        Ask::Measure {
            inputs,
            runs,
            seconds,
        } => {
            let input = request(worker, inputs.as_deref())?;
            let limit = Duration::from_secs(seconds.into());
            measure(worker, &input, runs.clamp(1, RUNS_MAX), limit).await
        }
    }
}

async fn infer(worker: &Worker, input: &InferInput) -> Result<InferOutput, String> {
    worker.infer(input).await.map_err(|error| error.to_string())
}

fn request(worker: &Worker, file: Option<&Path>) -> Result<InferInput, String> {
    file.map_or_else(|| Ok(worker.zeros()), |file| Ok(input(inputs(file)?)))
}

fn input(tensors: Vec<Tensor>) -> InferInput {
    InferInput {
        tensors,
        outputs: OutputSelection::All,
        sequence: None,
    }
}

fn inputs(file: &Path) -> Result<Vec<Tensor>, String> {
    let problem =
        |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", file.display());
    let size = std::fs::metadata(file).map_err(|error| problem(&error))?;
    if size.len() > INPUTS_BYTES_MAX {
        return Err(problem(&"it is too large"));
    }
    let bytes = Bytes::from(std::fs::read(file).map_err(|error| problem(&error))?);
    Ok(golden::tensors(&bytes).map_err(|error| problem(&error))?.0)
}

async fn count(
    worker: &Worker,
    file: &Path,
    rows: usize,
    class_of: Option<&str>,
) -> Result<Told, String> {
    let tensors = inputs(file)?;
    let requests = requests_of(&tensors, rows)?;
    let (mut confidences, mut classes) = (Vec::new(), Vec::new());
    for index in 0..requests {
        let part = tensors
            .iter()
            .map(|tensor| part(tensor, index * rows, rows));
        let output = infer(worker, &input(part.collect()))
            .await
            .map_err(|error| format!("request {index}: {error}"))?;
        confidences.extend(output.confidence);
        if let Some(name) = class_of {
            let scores = output.tensor(name);
            let scores = scores.ok_or_else(|| format!("the model has no output `{name}`"))?;
            classes.extend(class(scores));
        }
    }
    Ok(Told::Counted {
        confidences,
        classes,
    })
}

/// How many requests of so many rows the tensors hold.
fn requests_of(tensors: &[Tensor], rows: usize) -> Result<usize, String> {
    let lengths = tensors.iter().map(|tensor| tensor.shape.first().copied());
    let mut common = None;
    for length in lengths {
        match (common, length) {
            (None, Some(length)) => common = Some(length),
            (Some(one), Some(other)) if one == other => {}
            (_, other) => {
                return Err(format!(
                    "inputs of {common:?} and {other:?} rows do not belong together"
                ));
            }
        }
    }
    let common = common.unwrap_or(0);
    let whole = rows > 0 && common.is_multiple_of(rows);
    whole
        .then(|| common / rows)
        .ok_or_else(|| format!("{common} rows are no whole requests of {rows}"))
}

/// Some rows of a tensor.
fn part(tensor: &Tensor, begin: usize, rows: usize) -> Tensor {
    let row_bytes = tensor.data.len() / tensor.shape[0].max(1);
    let mut shape = tensor.shape.clone();
    shape[0] = rows;
    Tensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype,
        shape,
        data: tensor
            .data
            .slice(begin * row_bytes..(begin + rows) * row_bytes),
    }
}

/// Index of the largest element; a single whole number is the class itself.
fn class(scores: &Tensor) -> Option<u32> {
    let mut numbers = numbers::of(scores.datatype, &scores.data);
    let whole = matches!(
        scores.datatype,
        Datatype::Int64
            | Datatype::Int32
            | Datatype::Uint8
            | Datatype::Uint32
            | Datatype::Int16
            | Datatype::Uint16
            | Datatype::Int8
            | Datatype::Uint64
            | Datatype::Bool
    );
    if whole && scores.shape.iter().product::<usize>() == 1 {
        let label = numbers.next().filter(|label| *label >= 0.0)?;
        return Some(label as u32);
    }
    let best = numbers
        .enumerate()
        .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    u32::try_from(best.0).ok()
}

async fn measure(
    worker: &Worker,
    input: &InferInput,
    runs: u32,
    limit: Duration,
) -> Result<Told, String> {
    // The first run finds its pages and threads; it is none that is measured.
    infer(worker, input).await?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < runs as usize && (times.is_empty() || begin.elapsed() < limit) {
        let asked = Instant::now();
        infer(worker, input).await?;
        times.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Ok(Told::Measured(Measured {
        runs: u32::try_from(times.len()).unwrap_or(u32::MAX),
        p50_us: quantile(&times, 50),
        p90_us: quantile(&times, 90),
        p99_us: quantile(&times, 99),
        max_us: quantile(&times, 100),
        memory_bytes: worker.memory_bytes(),
        memory_peak_bytes: peak_bytes(worker.pid()),
    }))
}

/// The smallest time that so many of a hundred are not longer than.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// Most memory a process ever had.
fn peak_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: Datatype, shape: &[usize], data: Vec<u8>) -> Tensor {
        Tensor {
            name: "x".to_owned(),
            datatype,
            shape: shape.to_vec(),
            data: data.into(),
        }
    }

    #[test]
    fn rows_are_parted_into_whole_requests_only() {
        let five = tensor(Datatype::Uint8, &[6, 2], (0..12).collect());
        assert_eq!(requests_of(std::slice::from_ref(&five), 2), Ok(3));
        assert_eq!(part(&five, 2, 2).data.as_ref(), [4, 5, 6, 7]);
        assert_eq!(part(&five, 2, 2).shape, [2, 2]);
        for (rows, words) in [(0, "whole"), (4, "6 rows")] {
            let error = requests_of(std::slice::from_ref(&five), rows).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let other = tensor(Datatype::Uint8, &[5], vec![0; 5]);
        let error = requests_of(&[five, other], 1).unwrap_err();
        assert!(error.contains("belong together"), "{error}");
    }

    #[test]
    fn a_class_is_the_largest_score_or_the_label_itself() {
        let scores = tensor(Datatype::Uint8, &[1, 3], vec![1, 9, 4]);
        assert_eq!(class(&scores), Some(1));
        let label = tensor(Datatype::Int64, &[1], 7_i64.to_le_bytes().to_vec());
        assert_eq!(class(&label), Some(7));
        let anomaly = tensor(Datatype::Int64, &[1, 1], (-1_i64).to_le_bytes().to_vec());
        assert_eq!(class(&anomaly), None, "profiles count classes from 0");
    }

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!([50, 99, 100].map(|p| quantile(&times, p)), [100, 198, 200]);
        assert_eq!(quantile(&[7], 50), 7);
    }
}
