//! Swapping versions under load fails no request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge_agent::serving::models::ActiveModels;
use edge_agent::worker::{InferInput, OutputSelection, Tensor};
use millwright_package::Datatype;

use crate::onnx::write_package;
use crate::support::{DEADLINE, host, recorder, spec};

/// Each swap starts a process, so that this takes seconds and not minutes.
const SWAPS: usize = 30;

const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_versions_are_swapped_drained_and_ended() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_package(first.path(), "1.0.0", "Abs", Datatype::Fp32);
    write_package(second.path(), "2.0.0", "Neg", Datatype::Fp32);
    let specs = [spec(first.path()), spec(second.path())];
    let host = host();
    let recorder = recorder();
    let models = ActiveModels::new(recorder.clone());
    models.activate(host.spawn(specs[0].clone()).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(load(models.clone(), client + 1, Arc::clone(&stop))))
        .collect();
    for swap in 0..SWAPS {
        let next = host.spawn(specs[(swap + 1) % 2].clone()).await.unwrap();
        next.warm().await.unwrap();
        let replaced = models.activate(next).unwrap();
        tokio::time::timeout(DEADLINE, replaced.drain())
            .await
            .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered: BTreeMap<String, u64> = BTreeMap::new();
    for client in clients {
        for (version, count) in client.await.unwrap() {
            *answered.entry(version).or_default() += count;
        }
    }
    assert!(
        answered.len() == 2 && answered.values().all(|&count| count > 0),
        "{answered:?}"
    );
    let counters = recorder.counters();
    let counted: u64 = counters
        .models
        .values()
        .map(|counters| counters.requests)
        .sum();
    assert_eq!(counted, answered.values().sum::<u64>());
    assert!(
        counters
            .models
            .values()
            .all(|counters| counters.errors.is_empty())
    );
}

/// Sends one request after another; panics at the first failure or wrong answer.
async fn load(models: ActiveModels, length: usize, stop: Arc<AtomicBool>) -> BTreeMap<String, u64> {
    let model = "tiny".parse().unwrap();
    let mut answered = BTreeMap::new();
    let mut value = 0.0_f32;
    while !stop.load(Ordering::Relaxed) {
        value += 1.0;
        let input = InferInput {
            tensors: vec![Tensor {
                name: "x".to_owned(),
                datatype: Datatype::Fp32,
                shape: vec![length],
                data: value.to_le_bytes().repeat(length).into(),
            }],
            outputs: OutputSelection::All,
            sequence: None,
        };
        let output = models.infer(&model, None, &input).await.unwrap();
        let version = output.model.version.to_string();
        let expected = if version == "1.0.0" { value } else { -value };
        assert_eq!(
            *output.tensors[0].data,
            *expected.to_le_bytes().repeat(length)
        );
        *answered.entry(version).or_default() += 1;
    }
    answered
}
