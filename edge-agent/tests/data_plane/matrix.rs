//! The operator models of libonnx-testdata through a worker each, compared bit by bit with ONNX Runtime in Python on the same
//! machine: `tests/models/matrix.py` lays them out and says which models are not for this.
//!
//! Every fourth model by default; all of them with MILLWRIGHT_MATRIX=all, which is `make matrix`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edge_agent::worker::{InferInput, OutputSelection, Tensor, WorkerHost};
use millwright_package::Datatype;
use serde::Deserialize;

use crate::support::{checkout, host, spec};

/// Models that are open at the same time: as many as keep two processors busy.
const AT_ONCE: usize = 4;

/// Each of so many in the short form.
const SHORT_STEP: usize = 4;

/// What their operators draw at random is different each time.
const RANDOM: [&str; 2] = ["bernoulli", "training_dropout"];

/// Models with a case in all, and in the short form.
const CASES: (usize, usize) = (980, 245);

#[derive(Deserialize)]
struct Matrix {
    cases: Vec<Listed>,
    different: Vec<String>,
    refused: std::collections::BTreeMap<String, String>,
    beyond: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
struct Listed {
    directory: String,
    name: String,
}

#[derive(Deserialize)]
struct Case {
    inputs: Vec<Place>,
    outputs: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    name: String,
    datatype: Datatype,
    shape: Vec<usize>,
    offset: usize,
    length: usize,
}

impl Place {
    fn tensor(&self, data: &[u8]) -> Tensor {
        Tensor {
            name: self.name.clone(),
            datatype: self.datatype,
            shape: self.shape.clone(),
            data: data[self.offset..self.offset + self.length].to_vec().into(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_give_what_onnx_runtime_in_python_gives() {
    let directory = checkout().join("target/matrix");
    let text =
        std::fs::read(directory.join("matrix.json")).expect("`make setup` lays the models out");
    let matrix: Matrix = serde_json::from_slice(&text).unwrap();
    let all = std::env::var("MILLWRIGHT_MATRIX").is_ok_and(|form| form == "all");
    let step = if all { 1 } else { SHORT_STEP };
    let cases: Vec<Listed> = matrix.cases.iter().step_by(step).cloned().collect();
    assert_eq!(cases.len(), if all { CASES.0 } else { CASES.1 });
    // Every model of the package is somewhere, so that none is lost on the way.
    assert_eq!(
        matrix.cases.len() + matrix.refused.len() + matrix.beyond.len(),
        1072
    );
    assert!(matrix.different.len() <= 21, "{:?}", matrix.different);

    let (cases, next, host) = (Arc::new(cases), Arc::new(AtomicUsize::new(0)), host());
    let runners: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            tokio::spawn(run_some(
                directory.clone(),
                host.clone(),
                Arc::clone(&cases),
                Arc::clone(&next),
            ))
        })
        .collect();
    let mut disagreeing = Vec::new();
    for runner in runners {
        disagreeing.extend(runner.await.unwrap());
    }
    assert!(
        disagreeing.is_empty(),
        "{} of {}: {disagreeing:#?}",
        disagreeing.len(),
        cases.len()
    );
}

async fn run_some(
    directory: PathBuf,
    host: WorkerHost,
    cases: Arc<Vec<Listed>>,
    next: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut disagreeing = Vec::new();
    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
        let random = RANDOM.iter().any(|word| case.name.contains(word));
        if let Err(problem) = run(&directory.join(&case.directory), &host, random).await {
            disagreeing.push(format!("{}: {problem}", case.name));
        }
    }
    disagreeing
}

async fn run(package: &Path, host: &WorkerHost, random: bool) -> Result<(), String> {
    let case: Case =
        serde_json::from_slice(&std::fs::read(package.join("case.json")).unwrap()).unwrap();
    let data = std::fs::read(package.join("case.bin")).unwrap();
    let worker = host
        .spawn(spec(package))
        .await
        .map_err(|error| error.to_string())?;
    let input = InferInput {
        tensors: case
            .inputs
            .iter()
            .map(|place| place.tensor(&data))
            .collect(),
        outputs: OutputSelection::All,
        sequence: None,
    };
    // The second request of a shape gets tensors of the first, the third writes into its outputs too.
    for round in 1..=3 {
        let output = worker
            .infer(&input)
            .await
            .map_err(|error| error.to_string())?;
        for (place, found) in case.outputs.iter().zip(&output.tensors) {
            let expected = place.tensor(&data);
            if (expected.datatype, &expected.shape) != (found.datatype, &found.shape) {
                let (datatype, shape) = (found.datatype, &found.shape);
                return Err(format!(
                    "round {round}: {} is {datatype} {shape:?}",
                    place.name
                ));
            }
            if !random && expected.data != found.data {
                return Err(format!("round {round}: {} has other elements", place.name));
            }
        }
    }
    Ok(())
}
