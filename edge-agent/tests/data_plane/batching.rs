//! Requests of several clients in one run of a real worker: each gets what it would have got alone.

use std::sync::Arc;

use edge_agent::worker::{InferError, InferInput, InferOutput, OutputSelection, Tensor, Worker};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use millwright_package::Datatype;

use crate::onnx::write_package;
use crate::support::{go_on, halt, host, package, sensor_rows, spec_edited};

const CLIENTS: usize = 16;

/// The longest there may be: nobody is left out because a machine is slow.
const JOINED: &str = "  batching: {maxRows: 64, maxDelayUs: 100000}\n  golden:\n";

/// The sensor model, which joins requests.
async fn sensors() -> Arc<Worker> {
    let spec = spec_edited(&package("1.0.0"), |text| {
        text.replace("  golden:\n", JOINED)
    });
    assert!(spec.manifest.batching.is_some());
    host().spawn(spec).await.unwrap()
}

/// One or two rows, other ones for each client.
fn rows_of(client: usize) -> InferInput {
    let mut input = sensor_rows(1 + client % 2);
    let tensor = &mut input.tensors[0];
    let count = tensor.data.len() / 4;
    let values = (0..count).map(|at| (30 + client * 7 + at) as f32);
    tensor.data = values
        .flat_map(f32::to_le_bytes)
        .collect::<Vec<u8>>()
        .into();
    input
}

type Answers = Vec<Result<InferOutput, InferError>>;

/// All at once: every request is made before any is answered, because the worker stands still until then.
async fn at_once(worker: &Worker, inputs: &[InferInput]) -> Answers {
    let mut answers = join_all(inputs.iter().map(|input| worker.infer(input)));
    halt(worker);
    assert!((&mut answers).now_or_never().is_none());
    go_on(worker);
    answers.await
}

#[tokio::test]
async fn rows_of_several_clients_are_one_run_and_each_gets_its_own() {
    let alone = crate::support::worker("1.0.0").await;
    let together = sensors().await;
    let inputs: Vec<InferInput> = (0..CLIENTS).map(rows_of).collect();
    let answers = at_once(&together, &inputs).await;
    let mut scores = Vec::new();
    for (input, answer) in inputs.iter().zip(answers) {
        let (expected, found) = (alone.infer(input).await.unwrap(), answer.unwrap());
        assert_eq!(found.tensors, expected.tensors);
        assert_eq!(found.confidence, expected.confidence);
        scores.push(found.tensors[1].data.clone());
    }
    scores.sort();
    scores.dedup();
    // A few rows have the same score; were all the same, nobody could tell whose is whose.
    assert!(scores.len() > CLIENTS / 2, "the clients asked the same");
    // The first found the model free; the others waited for it, and were one run.
    assert_eq!(together.runs_saved(), CLIENTS as u64 - 2);
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_is_refused_alone() {
    let worker = sensors().await;
    let mut inputs: Vec<InferInput> = (0..5).map(rows_of).collect();
    inputs[2].outputs = OutputSelection::Named(vec!["nothing".to_owned()]);
    inputs[3].tensors[0].shape = vec![1, 8];
    let answers = at_once(&worker, &inputs).await;
    let refused: Vec<usize> = (0..5).filter(|&at| answers[at].is_err()).collect();
    assert_eq!(refused, [2, 3], "{answers:?}");
    assert_eq!(worker.runs_saved(), 1);
}

#[tokio::test]
async fn a_client_that_gives_up_takes_nothing_from_the_others() {
    let worker = sensors().await;
    let alone = crate::support::worker("1.0.0").await;
    let inputs: Vec<InferInput> = (0..4).map(rows_of).collect();
    // Polled once, so that they run and wait, then dropped.
    halt(&worker);
    let requests = inputs.iter().map(|input| Box::pin(worker.infer(input)));
    let mut requests: Vec<_> = requests.collect();
    for request in &mut requests {
        assert!(request.now_or_never().is_none());
    }
    drop(requests);
    go_on(&worker);
    for (input, answer) in inputs.iter().zip(at_once(&worker, &inputs).await) {
        let expected = alone.infer(input).await.unwrap();
        assert_eq!(answer.unwrap().tensors, expected.tensors);
    }
    assert_eq!(worker.requests(), 0, "every place is free again");
}

#[tokio::test]
async fn strings_of_several_clients_are_split_where_each_ends() {
    let directory = tempfile::tempdir().unwrap();
    write_package(directory.path(), "1.0.0", "Identity", Datatype::Bytes);
    let spec = spec_edited(directory.path(), |text| {
        format!("{text}  batching: {{maxRows: 64, maxDelayUs: 100000}}\n")
    });
    let worker = host().spawn(spec).await.unwrap();
    let input = |client: usize| {
        let string = vec![client as u8; client];
        let length = (client as u32).to_le_bytes();
        let data: Vec<u8> = [&length, string.as_slice(), &[0, 0, 0, 0]].concat();
        InferInput {
            tensors: vec![Tensor {
                name: "x".to_owned(),
                datatype: Datatype::Bytes,
                shape: vec![2],
                data: data.into(),
            }],
            outputs: OutputSelection::All,
            sequence: None,
        }
    };
    let inputs: Vec<InferInput> = (0..CLIENTS).map(input).collect();
    for (input, answer) in inputs.iter().zip(at_once(&worker, &inputs).await) {
        assert_eq!(answer.unwrap().tensors[0].data, input.tensors[0].data);
    }
    assert_eq!(worker.runs_saved(), CLIENTS as u64 - 2);
}
