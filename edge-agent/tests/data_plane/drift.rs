//! Drift on real data: the sensor model, its held-out rows, and one sensor that is off.

use std::sync::Arc;

use edge_agent::serving::models::ActiveModels;
use edge_agent::telemetry::Recorder;
use edge_agent::worker::{InferInput, OutputSelection, Tensor, Worker, WorkerSpec};
use edge_core::drift::DriftNotice;
use edge_core::summary::{Cut, Moment};
use millwright_package::profile::Builder;
use millwright_package::{Datatype, Profile};
use millwright_summary::distance::Verdict;
use millwright_summary::{ClockQuality, LinkStats};

use super::support;

const SENSORS: usize = 9;

/// Rows of one request, and of one window.
const ROWS: usize = 50;

/// Against a baseline of 1,000 rows, 667 are the fewest that give a verdict: the next whole window.
const ROWS_UNTIL_TOLD: usize = 700;

type Row = [f64; SENSORS];

/// Held-out rows, of which every other one makes the baseline and the rest are what a plant sends.
fn rows() -> (Vec<Row>, Vec<Row>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/shuttle.csv");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let mut row = [0.0; SENSORS];
        for (value, text) in row.iter_mut().zip(line.split(',')) {
            *value = text.parse().unwrap();
        }
        row
    });
    let rows: Vec<Row> = rows.collect();
    let every_other = |from: usize| rows.iter().copied().skip(from).step_by(2).collect();
    (every_other(0), every_other(1))
}

fn profile(spec: &WorkerSpec, rows: &[Row]) -> Profile {
    let names = (1..=SENSORS).map(|sensor| format!("f{sensor}")).collect();
    let input = Some("sensors".to_owned());
    let mut builder = Builder::new(spec.model.clone(), input, names).unwrap();
    for row in rows {
        builder.row(row).unwrap();
    }
    builder.build().unwrap()
}

fn input(rows: &[Row]) -> InferInput {
    let values = rows.iter().flatten();
    let data: Vec<u8> = values.flat_map(|v| (*v as f32).to_le_bytes()).collect();
    InferInput {
        tensors: vec![Tensor {
            name: "sensors".to_owned(),
            datatype: Datatype::Fp32,
            shape: vec![rows.len(), SENSORS],
            data: data.into(),
        }],
        outputs: OutputSelection::All,
        sequence: None,
    }
}

/// Sends `rows` to the model, a window for every request; returns which features were told and after how many rows.
async fn told(worker: &Arc<Worker>, rows: &[Row]) -> (Recorder, Vec<String>, usize) {
    let recorder = support::recorder();
    let models = ActiveModels::new(recorder.clone());
    models.activate(Arc::clone(worker));
    let model = worker.model();
    let (mut features, mut after) = (Vec::new(), 0);
    for (at, rows) in rows.chunks(ROWS).enumerate() {
        models
            .infer(&model.model, None, &input(rows))
            .await
            .unwrap();
        let moment = Moment {
            monotonic_ms: at as u64 * 1000,
            wall_ms: at as u64 * 1000,
            clock: ClockQuality::Floor,
        };
        let (_, notices) = recorder.cut(moment, Cut::Full, LinkStats::default());
        for (_, notice) in notices {
            let DriftNotice::Began(what) = notice else {
                panic!("{notice:?}");
            };
            features.extend(what.into_iter().map(|difference| difference.name));
            after = (at + 1) * ROWS;
        }
    }
    (recorder, features, after)
}

/// A worker of the real model whose package has a profile of `baseline`.
async fn worker(directory: &std::path::Path, baseline: &[Row]) -> (Arc<Worker>, Profile) {
    let source = support::package("1.0.0");
    for file in ["model.onnx", "model.yaml"] {
        std::fs::copy(source.join(file), directory.join(file)).unwrap();
    }
    let edit = |text: &str| text.replace("  golden:\n", "  profile: profile.json\n  golden:\n");
    let spec = support::spec_edited(directory, edit);
    assert!(spec.manifest.profile.is_some());
    let profile = profile(&spec, baseline);
    std::fs::write(directory.join("profile.json"), profile.to_json()).unwrap();
    (support::host().spawn(spec).await.unwrap(), profile)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_rows_are_steady_and_a_shifted_sensor_is_told_by_its_name_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (baseline, sent) = rows();
    let (worker, profile) = worker(directory.path(), &baseline).await;

    let (recorder, features, _) = told(&worker, &sent).await;
    assert_eq!(features, Vec::<String>::new());
    for difference in &recorder.drift()[0].differences {
        let distance = difference.distance.unwrap();
        assert!(distance.psi < 0.05 && distance.ks < 0.06, "{difference:?}");
        assert_eq!(difference.verdict, Verdict::Steady);
    }

    for sensor in 0..SENSORS {
        let (name, of) = &profile.features()[sensor];
        let shifted: Vec<Row> = sent
            .iter()
            .copied()
            .map(|mut row| {
                row[sensor] += of.std;
                row
            })
            .collect();
        let (recorder, features, after) = told(&worker, &shifted).await;
        assert_eq!(
            features,
            std::slice::from_ref(name),
            "{:?}",
            recorder.drift()
        );
        assert_eq!(after, ROWS_UNTIL_TOLD, "{name}");
        let others = recorder.drift().remove(0).differences;
        let others = others.iter().filter(|difference| difference.name != *name);
        assert_eq!(
            others
                .filter(|other| other.verdict != Verdict::Steady)
                .count(),
            0
        );
    }
}
