//! Hundreds of malicious files while another model serves: each refused by name, nobody else notices.

mod files;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge_agent::serving::models::ActiveModels;
use edge_agent::worker::{Worker, WorkerError, WorkerHost, WorkerSpec};
use millwright_package::Manifest;

use crate::support::{host, package, recorder, sensor_rows, spec, worker};

/// Fewer than this would prove less than was promised.
const FILES_MIN: usize = 300;

/// Workers that open hostile files at a time.
const AT_ONCE: usize = 3;

fn write(directory: &Path, model: &[u8]) -> WorkerSpec {
    let manifest = "apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: hostile, version: 1.0.0}
spec:
  file: model.onnx
  inputs: [{name: x, datatype: FP32, shape: [-1]}]
  outputs: [{name: y, datatype: FP32, shape: [-1]}]
  limits: {memoryMib: 256}
";
    let package = directory.join("package");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(directory.join("secret"), [0; 64]).unwrap();
    std::os::unix::fs::symlink("../secret", package.join("link")).unwrap();
    std::fs::write(package.join("model.onnx"), model).unwrap();
    WorkerSpec {
        model: "hostile@1.0.0".parse().unwrap(),
        directory: package,
        manifest: Arc::new(Manifest::parse(manifest, "model.yaml").unwrap()),
    }
}

/// `None`: refused as it should be. Else what is wrong with that.
async fn problem(host: &WorkerHost, name: &str, file: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let error = match host.spawn(write(directory.path(), file)).await {
        Ok(_) => return Some(format!("{name}: it was opened")),
        Err(error) => error,
    };
    let text = error.to_string();
    let clear = text.contains("hostile@1.0.0") && text.len() > 40 && text.len() < 4096;
    let about_the_model = matches!(
        error,
        WorkerError::NotAModel { .. }
            | WorkerError::Signature { .. }
            | WorkerError::EndedLoading { .. }
    );
    (!clear || !about_the_model).then(|| format!("{name}: {text}"))
}

/// Asks `worker` again and again until told to stop; how many answers there were.
async fn ask(models: ActiveModels, worker: Arc<Worker>, stop: Arc<AtomicBool>) -> usize {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let output = models
            .infer(&worker.model().model, None, &sensor_rows(2))
            .await;
        assert_eq!(output.unwrap().model, *worker.model());
        answers += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_hostile_files_are_refused_while_another_model_serves() {
    let (good, host) = (worker("1.0.0").await, host());
    let models = ActiveModels::new(recorder());
    models.activate(Arc::clone(&good));
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask(models, Arc::clone(&good), Arc::clone(&stop)));

    let seed = std::fs::read(package("1.0.0").join("model.onnx")).unwrap();
    let files = files::all(&seed);
    let count = files.len();
    assert!(count >= FILES_MIN, "{count}");
    let waiting = Arc::new(tokio::sync::Mutex::new(files.into_iter()));
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (waiting, host) = (Arc::clone(&waiting), host.clone());
        openers.spawn(async move {
            let (mut tried, mut problems) = (0, Vec::new());
            loop {
                let next = waiting.lock().await.next();
                let Some((name, file)) = next else {
                    return (tried, problems);
                };
                tried += 1;
                problems.extend(problem(&host, &name, &file).await);
            }
        });
    }
    let (mut tried, mut problems) = (0, Vec::new());
    while let Some(opener) = openers.join_next().await {
        let (of_one, found) = opener.unwrap();
        tried += of_one;
        problems.extend(found);
    }
    stop.store(true, Ordering::Relaxed);
    let answers = asking.await.unwrap();
    assert_eq!((tried, problems), (count, Vec::<String>::new()));
    assert!(
        answers > count / 10,
        "the line was served {answers} times meanwhile"
    );
    assert!(!good.has_ended());
    println!("{tried} hostile files refused, {answers} requests answered meanwhile");
}

#[tokio::test]
async fn the_model_they_are_made_from_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    host()
        .spawn(write(directory.path(), &files::sound()))
        .await
        .unwrap();
}

#[tokio::test]
async fn flipped_bits_give_a_refusal_or_a_worker_that_answers_or_ends_and_nothing_else() {
    let (good, host) = (worker("1.0.0").await, host());
    let seed = std::fs::read(package("1.0.0").join("model.onnx")).unwrap();
    for at in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        std::fs::copy(
            package("1.0.0").join("model.yaml"),
            directory.path().join("model.yaml"),
        )
        .unwrap();
        let mut file = seed.clone();
        // Many at the beginning, where the structure is, and the rest spread over the weights.
        let place = if at < 20 {
            at * 7
        } else {
            seed.len() / 40 * at
        };
        file[place] ^= 1 << (at % 8);
        std::fs::write(directory.path().join("model.onnx"), file).unwrap();
        if let Ok(opened) = host.spawn(spec(directory.path())).await {
            // Whatever it answers: the signature tells that it is another model.
            let _ = opened.infer(&sensor_rows(1)).await;
        }
    }
    good.infer(&sensor_rows(1)).await.unwrap();
}
