//! The agent's side of a request: nothing is taken from the heap once the buffers of the caller have grown.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with the place"
)]

use std::path::Path;
use std::sync::Arc;

use edge_agent::worker::{
    Call, OutputSelection, Request, TensorRef, WorkerHost, WorkerProgram, WorkerSettings,
    WorkerSpec,
};
use millwright_package::{Datatype, Manifest};

const WARM_UP: usize = 5;

fn spec() -> WorkerSpec {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let directory = top
        .join("tests/models/packages/shuttle-anomaly-1.0.0")
        .canonicalize()
        .unwrap();
    let text = std::fs::read_to_string(directory.join("model.yaml")).unwrap();
    let manifest = Manifest::parse(&text, "model.yaml").unwrap();
    WorkerSpec {
        model: manifest.model_version(),
        directory,
        manifest: Arc::new(manifest),
    }
}

fn host() -> WorkerHost {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let library = format!(
        "target/onnxruntime/{}/libonnxruntime.so.1.31.1",
        std::env::consts::ARCH
    );
    WorkerHost::start(WorkerProgram {
        executable: env!("CARGO_BIN_EXE_edge-agent").into(),
        runtime: Some(top.join(library)),
        settings: WorkerSettings::default(),
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_from_a_thread_takes_nothing_from_the_heap_once_it_is_warm() {
    let worker = host().spawn(spec()).await.unwrap();
    let thread = std::thread::spawn(move || {
        let data: Vec<u8> = (0..36_u8)
            .flat_map(|at| f32::from(at).to_le_bytes())
            .collect();
        let tensors = [TensorRef {
            name: "sensors",
            datatype: Datatype::Fp32,
            shape: &[4, 9],
            data: &data,
        }];
        let outputs = OutputSelection::Named(vec!["label".to_owned()]);
        let request = Request {
            tensors: &tensors,
            outputs: &outputs,
            sequence: None,
        };
        let mut call = Call::default();
        for round in 0..WARM_UP + 50 {
            let counted =
                allocation_counter::measure(|| worker.infer_blocking(&request, &mut call).unwrap());
            assert_eq!(
                call.outputs()
                    .map(|tensor| tensor.shape[0])
                    .collect::<Vec<_>>(),
                [4]
            );
            // The confidence is made of an output that was not asked for.
            assert!(call.confidence().is_some());
            if round >= WARM_UP {
                assert_eq!(counted.count_total, 0, "request {round}");
            }
        }
    });
    tokio::task::spawn_blocking(|| thread.join().unwrap())
        .await
        .unwrap();
}
