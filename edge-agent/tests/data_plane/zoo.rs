//! Models of every kind that others made, against what ONNX Runtime in Python gives for them: `tests/models/zoo.py`.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use edge_agent::serving::models::ActiveModels;
use edge_agent::worker::tensor::strings;
use edge_agent::worker::{
    Call, InferError, InferInput, OutputSelection, Request, Sequence, SequenceId, Tensor, TensorRef,
};
use millwright_package::Datatype;
use safetensors::SafeTensors;

use crate::support::{DEADLINE, checkout, halt, host, kill, recorder, spec, spec_edited};

fn package(name: &str) -> PathBuf {
    let path = checkout().join("target/zoo").join(name);
    assert!(
        path.is_dir(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path.canonicalize().unwrap()
}

#[tokio::test]
async fn vision_bytes_and_tabular_models_give_what_python_gives() {
    let host = host();
    for (name, outputs) in [
        ("text-detector", 1),
        ("text-recogniser", 1),
        ("file-type", 1),
        // Of scikit-learn, with a sequence of maps that is a table and its keys here.
        ("pump-numbers", 3),
        ("pump-names", 1),
    ] {
        let worker = host.spawn(spec(&package(name))).await.unwrap();
        let report = worker.run_golden().await.unwrap();
        assert_eq!(report.tensors.len(), outputs, "{name}: {report:?}");
        worker.warm().await.unwrap();
    }
}

#[tokio::test]
async fn the_keys_of_a_map_are_an_output_and_text_comes_as_byte_strings() {
    let directory = package("pump-names");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.join("labels.json")).unwrap()).unwrap();
    let golden = std::fs::read(directory.join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let rows = golden.tensor("input/sensors").unwrap();
    let worker = host().spawn(spec(&directory)).await.unwrap();
    let input = InferInput {
        tensors: vec![Tensor {
            name: "sensors".to_owned(),
            datatype: Datatype::Fp32,
            shape: rows.shape().to_vec(),
            data: rows.data().to_vec().into(),
        }],
        outputs: OutputSelection::All,
        sequence: None,
    };
    let output = worker.infer(&input).await.unwrap();
    let texts = |index: usize| {
        let tensor: &Tensor = &output.tensors[index];
        assert_eq!(tensor.datatype, Datatype::Bytes);
        let found = strings(&tensor.data).unwrap();
        found
            .iter()
            .map(|text| String::from_utf8(text.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(serde_json::json!(texts(0)), expected["labels"]);
    assert_eq!(serde_json::json!(texts(2)), expected["keys"]);
    assert_eq!(output.tensors[1].shape, [4, 3]);
}

#[tokio::test]
async fn an_input_that_the_model_has_a_value_for_may_be_left_out_and_given_again() {
    let worker = host().spawn(spec(&package("offset"))).await.unwrap();
    let tensor = |name: &str, value: f32| Tensor {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![1],
        data: value.to_le_bytes().to_vec().into(),
    };
    for (by, expected) in [
        (None, 11.0_f32),
        (Some(3.0), 4.0),
        (None, 11.0),
        (None, 11.0),
        (None, 11.0),
        (Some(5.0), 6.0),
    ] {
        let by = by.map(|by| tensor("by", by));
        let input = InferInput {
            tensors: [tensor("x", 1.0)].into_iter().chain(by).collect(),
            outputs: OutputSelection::All,
            sequence: None,
        };
        let output = worker.infer(&input).await.unwrap();
        assert_eq!(*output.tensors[0].data, expected.to_le_bytes());
    }
}

/// The chunks of sound with the probability of speech that Python heard in each, after those before.
fn sound() -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = std::fs::read(package("voice-activity").join("sequence.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (chunks, heard) = (
        file.tensor("chunks").unwrap(),
        file.tensor("heard").unwrap(),
    );
    let count = chunks.shape()[0];
    let chunk = chunks.data().chunks(chunks.data().len() / count);
    let heard = heard.data().chunks(heard.data().len() / count);
    chunk
        .zip(heard)
        .map(|(chunk, heard)| (chunk.to_vec(), heard.to_vec()))
        .collect()
}

fn chunk(data: &[u8], sequence: Option<Sequence>) -> InferInput {
    let tensor = |name: &str, datatype, shape: &[usize], data: &[u8]| Tensor {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
        data: data.to_vec().into(),
    };
    InferInput {
        tensors: vec![
            tensor("input", Datatype::Fp32, &[1, data.len() / 4], data),
            tensor("sr", Datatype::Int64, &[], &16_000_i64.to_le_bytes()),
        ],
        outputs: OutputSelection::All,
        sequence,
    }
}

fn part(name: &str, number: usize, last: usize) -> Option<Sequence> {
    Some(Sequence {
        id: SequenceId::Text(name.to_owned()),
        start: number == 0,
        end: number == last,
    })
}

#[tokio::test]
async fn a_stateful_model_goes_on_where_each_sequence_was() {
    let worker = host()
        .spawn(spec(&package("voice-activity")))
        .await
        .unwrap();
    let sound = sound();
    let last = sound.len() - 1;
    // The second stream is two chunks behind the first, so that each must have a state of its own.
    for step in 0..=last + 2 {
        for (name, behind) in [("one", 0), ("two", 2)] {
            let Some(number) = step.checked_sub(behind).filter(|&number| number <= last) else {
                continue;
            };
            let (data, heard) = &sound[number];
            let output = worker
                .infer(&chunk(data, part(name, number, last)))
                .await
                .unwrap();
            assert_eq!(*output.tensors[0].data, **heard, "{name}, chunk {number}");
        }
    }
    let (data, heard) = &sound[1];
    // Without a sequence it begins with zeros each time, and an ended one is gone.
    let alone = worker.infer(&chunk(data, None)).await.unwrap();
    assert_ne!(*alone.tensors[0].data, **heard);
    let error = worker
        .infer(&chunk(data, part("one", 1, last)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, InferError::UnknownSequence { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_running_sequence_stays_on_its_worker_through_a_swap() {
    let directory = package("voice-activity");
    let newer = spec_edited(&directory, |text| text.replace("1.0.0", "2.0.0"));
    let host = host();
    let models = ActiveModels::new(recorder());
    models.activate(host.spawn(spec(&directory)).await.unwrap());
    let (model, sound, last) = (newer.model.model.clone(), sound(), 9);
    let infer = async |name: &str, number: usize| {
        let input = chunk(&sound[number].0, part(name, number, last));
        let output = models.infer(&model, None, &input).await?;
        assert_eq!(*output.tensors[0].data, *sound[number].1);
        Ok::<_, InferError>(output.model.version.to_string())
    };
    infer("before", 0).await.unwrap();
    let old = models.activate(host.spawn(newer).await.unwrap()).unwrap();
    assert_eq!(infer("before", 1).await.unwrap(), "1.0.0");
    assert_eq!(infer("after", 0).await.unwrap(), "2.0.0");
    assert_eq!(infer("before", 2).await.unwrap(), "1.0.0");
    assert_eq!(infer("after", 1).await.unwrap(), "2.0.0");
    // Its memory goes with the worker; no other can answer for it.
    kill(&old);
    old.ended().await;
    let error = infer("before", 3).await.unwrap_err();
    assert!(
        matches!(error, InferError::UnknownSequence { .. }),
        "{error}"
    );
}

/// Whether a thread of this process sleeps.
fn sleeps(thread: rustix::process::Pid) -> bool {
    let path = format!("/proc/self/task/{thread}/stat");
    std::fs::read_to_string(path).is_ok_and(|stat| stat.contains(") S "))
}

#[tokio::test]
async fn a_thread_that_sleeps_on_an_answer_is_woken_when_the_worker_dies() {
    let worker = host().spawn(spec(&package("text-detector"))).await.unwrap();
    let waiting = worker.clone();
    let (tell, told) = mpsc::channel();
    // It answers nothing, so that the thread sleeps when the worker ends.
    halt(&worker);
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        let data = vec![0; 4 * 3 * 32 * 32];
        let tensors = [TensorRef {
            name: "x",
            datatype: Datatype::Fp32,
            shape: &[1, 3, 32, 32],
            data: &data,
        }];
        let request = Request {
            tensors: &tensors,
            outputs: &OutputSelection::All,
            sequence: None,
        };
        waiting.infer_blocking(&request, &mut Call::default())
    });
    let asks = told.recv_timeout(DEADLINE).unwrap();
    let began = Instant::now();
    while worker.requests() == 0 || !sleeps(asks) {
        assert!(began.elapsed() < DEADLINE, "the thread does not sleep");
        std::thread::yield_now();
    }
    kill(&worker);
    let ended = tokio::task::spawn_blocking(|| thread.join().unwrap());
    let result = tokio::time::timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(
        result.unwrap().unwrap_err(),
        InferError::WorkerEnded(worker.model().clone())
    );
}
