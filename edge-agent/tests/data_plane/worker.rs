//! One worker: what it answers, what it refuses to load, how it ends.

use std::path::Path;

use edge_agent::serving::models::{ActiveModels, Readiness};
use edge_agent::worker::golden::GoldenError;
use edge_agent::worker::{InferError, InferInput, OutputSelection, Tensor, WorkerEnd, WorkerError};
use millwright_package::Datatype;

use crate::onnx::write_package;
use crate::support::{
    DEADLINE, host, host_with, kill, package, recorder, runtime, sensor_rows, spec, spec_edited,
    worker,
};

#[tokio::test]
async fn a_worker_answers_with_the_outputs_of_its_model() {
    let worker = worker("1.0.0").await;
    let mut input = sensor_rows(3);
    let output = worker.infer(&input).await.unwrap();
    let shapes: Vec<_> = output
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.clone()))
        .collect();
    assert_eq!(shapes, [("label", vec![3, 1]), ("scores", vec![3, 1])]);
    assert!(output.confidence.is_some());

    input.outputs = OutputSelection::Named(vec!["label".to_owned()]);
    let only_label = worker.infer(&input).await.unwrap();
    assert_eq!(only_label.tensors, [output.tensors[0].clone()]);
    assert_eq!(only_label.confidence, output.confidence);
    assert!(worker.memory_bytes().unwrap() > 1_000_000);
}

#[tokio::test]
async fn every_datatype_comes_back_bit_for_bit() {
    let host = host();
    for &datatype in Datatype::ALL {
        let directory = tempfile::tempdir().unwrap();
        write_package(directory.path(), "1.0.0", "Identity", datatype);
        let worker = host.spawn(spec(directory.path())).await.unwrap();
        // Strings carry four bytes of length and nothing, text, a zero or what is no UTF-8 here.
        let strings: [&[u8]; 4] = [
            &[0, 0, 0, 0],
            &[2, 0, 0, 0, 0xc3, 0xa4],
            &[3, 0, 0, 0, b'a', 0, b'b'],
            &[2, 0, 0, 0, 0xff, 0x80],
        ];
        let size = datatype.size_bytes().unwrap_or(1);
        for length in [0_usize, 1, 1000] {
            // Ones and zeros, so that they are valid truth values too.
            let mut data: Vec<u8> = (0..length * size).map(|at| u8::from(at % 3 == 0)).collect();
            if datatype == Datatype::Bytes {
                data = strings
                    .into_iter()
                    .cycle()
                    .take(length)
                    .flatten()
                    .copied()
                    .collect();
            }
            let input = InferInput {
                tensors: vec![Tensor {
                    name: "x".to_owned(),
                    datatype,
                    shape: vec![length],
                    data: data.clone().into(),
                }],
                outputs: OutputSelection::All,
                sequence: None,
            };
            let output = worker.infer(&input).await.unwrap().tensors.remove(0);
            assert_eq!(
                (output.datatype, output.shape.as_slice()),
                (datatype, [length].as_slice())
            );
            assert_eq!(*output.data, *data, "{datatype} {length}");
        }
    }
}

#[tokio::test]
async fn the_golden_set_of_each_version_passes_on_itself_only() {
    let first = worker("1.0.0").await;
    let report = first.run_golden().await.unwrap();
    assert_eq!(report.tensors.len(), 2, "{report:?}");
    first.warm().await.unwrap();

    // The second version under the first one's golden set.
    let directory = copy_of(&package("2.0.0"));
    let golden = "golden/rows.safetensors";
    std::fs::copy(package("1.0.0").join(golden), directory.path().join(golden)).unwrap();
    let second = host().spawn(spec(directory.path())).await.unwrap();
    let error = second.run_golden().await.unwrap_err();
    let GoldenError::Differs(tensor) = &error else {
        panic!("{error}")
    };
    assert!(tensor.failing > 0 && tensor.max_absolute > 0.0, "{error}");
}

fn copy_of(package: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("golden")).unwrap();
    for file in ["model.yaml", "model.onnx", "golden/rows.safetensors"] {
        std::fs::copy(package.join(file), directory.path().join(file)).unwrap();
    }
    directory
}

#[tokio::test]
async fn a_file_that_is_no_whole_model_is_refused_by_name() {
    let directory = copy_of(&package("1.0.0"));
    let model = directory.path().join("model.onnx");
    let whole = std::fs::read(&model).unwrap();
    let host = host();
    for broken in [&whole[..whole.len() / 2], b"<html>not found</html>", b""] {
        std::fs::write(&model, broken).unwrap();
        let error = host.spawn(spec(directory.path())).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, WorkerError::NotAModel { .. }), "{text}");
        assert!(
            text.contains("shuttle-anomaly@1.0.0") && text.contains("model.onnx"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_manifest_with_other_inputs_than_the_model_is_refused_by_name() {
    let spec = spec_edited(&package("1.0.0"), |text| {
        text.replacen("shape: [-1, 9]", "shape: [-1, 8]", 1)
    });
    let error = host().spawn(spec).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "model shuttle-anomaly@1.0.0: input `sensors`: model.yaml says FP32 [-1, 8], the model has FP32 [-1, 9]"
    );
}

#[tokio::test]
async fn without_the_runtime_there_is_an_error_that_says_how_to_get_it() {
    let directory = tempfile::tempdir().unwrap();
    let no_library = directory.path().join("libonnxruntime.so");
    let absent = directory.path().join("absent.so");
    std::fs::write(&no_library, "text").unwrap();
    for runtime in [None, Some(absent), Some(no_library)] {
        let host = host_with(runtime.clone());
        let error = host.spawn(spec(&package("1.0.0"))).await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, WorkerError::RuntimeMissing { .. }),
            "{text}"
        );
        assert!(text.contains("--onnxruntime"), "{text}");
        if let Some(path) = runtime {
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}

#[tokio::test]
async fn a_killed_worker_ends_its_requests_and_says_how_it_ended() {
    let worker = worker("1.0.0").await;
    kill(&worker);
    let end = tokio::time::timeout(DEADLINE, worker.ended())
        .await
        .unwrap();
    assert_eq!(end, WorkerEnd::Signalled(9));
    let error = worker.infer(&sensor_rows(1)).await.unwrap_err();
    assert_eq!(error, InferError::WorkerEnded(worker.model().clone()));
    tokio::time::timeout(DEADLINE, worker.drain())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_replaced_worker_answers_when_the_new_one_dies() {
    let models = ActiveModels::new(recorder());
    let (old, new) = (worker("1.0.0").await, worker("2.0.0").await);
    let model = old.model().model.clone();
    models.expect([model.clone()].into());
    assert_eq!(models.readiness(), Readiness::Waiting(vec![model.clone()]));
    models.activate(old.clone());
    let kept = models.activate(new.clone()).unwrap();
    assert_eq!(kept.pid(), old.pid());
    drop(old);
    kill(&new);
    let output = models.infer(&model, None, &sensor_rows(1)).await.unwrap();
    assert_eq!(output.model.version.as_str(), "1.0.0");
    assert_eq!(models.readiness(), Readiness::Ready);

    drop(kept);
    let error = models
        .infer(&model, None, &sensor_rows(1))
        .await
        .unwrap_err();
    assert_eq!(error, InferError::NotReady(model));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_process() {
    let worker = worker("1.0.0").await;
    let process = Path::new("/proc").join(worker.pid().to_string());
    assert!(process.exists());
    drop(worker);
    let gone = async {
        while process.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
}

#[tokio::test]
async fn the_agent_itself_never_loads_the_runtime() {
    let _worker = worker("1.0.0").await;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let name = runtime().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(!maps.contains(&name));
}
