//! The worker's side of a request without the process around it: ONNX Runtime in this one, and every allocation counted.

use std::path::Path;

use edge_ipc::Region;
use millwright_package::{Arena, Datatype, Provider};

use super::*;
use crate::worker::protocol::{Load, REGION_BYTES, Reply, SLOTS, Shape};
use crate::worker::runtime::{Library, Runtime};
use crate::worker::sandbox::Strictness;
use crate::worker::terms::Terms;

/// Requests before anything is counted: after the third, every buffer and tensor is there.
const WARM_UP: usize = 5;

fn text(path: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    top.join(path).to_str().unwrap().to_owned()
}

fn runtime() -> Runtime {
    let architecture = std::env::consts::ARCH;
    let library = format!("target/onnxruntime/{architecture}/libonnxruntime.so.1.31.1");
    Library::load(&text(&library)).unwrap().start().unwrap()
}

fn model(runtime: &Runtime, package: &str) -> Model {
    let load = Load {
        runtime: String::new(),
        model: text(package),
        threads: 1,
        memory_mib: None,
        state: Vec::new(),
        terms: Terms {
            directory: String::new(),
            sandbox: Strictness::default(),
            providers: vec![Provider::Cpu],
            arena: Arena::Kept,
        },
    };
    let opened = runtime.open(&load, &[Provider::Cpu], Vec::new());
    opened.unwrap().0
}

fn placed(values: usize) -> Placed {
    Placed {
        datatype: Datatype::Fp32,
        shape: Shape::new(&[values / 9, 9]).unwrap(),
        offset: 0,
        length: 4 * values as u64,
    }
}

/// Answers one request of `rows` rows in `slot`, as the agent would put it there; returns what was allocated meanwhile.
fn answer(work: &mut Work, slot: &mut Slot, rows: usize, outputs: &[u32]) -> u64 {
    let run = Run {
        id: 7,
        state: None,
        inputs: vec![Some(placed(9 * rows))],
        outputs: outputs.to_vec(),
    };
    let mut message = Vec::new();
    run.encode(&mut message).unwrap();
    slot.write(0, &message).unwrap();
    slot.write(MESSAGE_AREA as u64, &vec![0x3c; 36 * rows])
        .unwrap();
    let counted = allocation_counter::measure(|| work.answer(slot).unwrap());
    let (mut length, mut reply, mut places) = ([0; LENGTH_BYTES], Vec::new(), Vec::new());
    slot.read(0, &mut length).unwrap();
    let length = u32::from_le_bytes(length).into();
    slot.append_to(LENGTH_BYTES as u64, length, &mut reply)
        .unwrap();
    let (id, _, reply) = Reply::decode(&reply, &mut places).unwrap();
    assert_eq!((id, reply, places.len()), (7, Reply::Done, outputs.len()));
    assert!(
        places.iter().all(|place| place.shape[0] == rows),
        "{places:?}"
    );
    counted.count_total
}

#[test]
fn a_warm_worker_answers_without_taking_memory_from_the_heap() {
    let (_, mut slots) = Region::create(REGION_BYTES)
        .unwrap()
        .into_parts(SLOTS)
        .unwrap();
    let runtime = runtime();
    for (package, outputs) in [
        ("benches/models/tiny-1.0.0/model.onnx", [0].as_slice()),
        (
            "tests/models/packages/shuttle-anomaly-1.0.0/model.onnx",
            &[0, 1],
        ),
    ] {
        let mut work = Work::new(model(&runtime, package));
        for _ in 0..WARM_UP {
            answer(&mut work, &mut slots[0], 4, outputs);
        }
        for request in 0..20 {
            assert_eq!(
                answer(&mut work, &mut slots[0], 4, outputs),
                0,
                "{package}, request {request}"
            );
        }
        // Another shape takes memory once, and is right.
        for rows in [5, 5, 5, 2, 4] {
            answer(&mut work, &mut slots[1], rows, outputs);
        }
    }
}
