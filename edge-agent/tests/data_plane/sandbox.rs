//! What the kernel says about real workers, and what is said where it cannot confine them.

use std::path::Path;

use edge_agent::worker::sandbox::{Open, Strictness};
use edge_agent::worker::{Worker, WorkerError, WorkerHost, WorkerProgram, WorkerSettings};
use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
};

use crate::support::{package, runtime, sensor_rows, spec, spec_edited, worker};

/// The kernel lets a process have this many layers of Landlock rules, and no more.
const LAYERS_MAX: usize = 16;

fn of_each_thread(worker: &Worker, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", worker.pid())).unwrap();
    let value = |status: String| {
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        value.unwrap_or_default().trim().to_owned()
    };
    tasks
        .map(|task| value(std::fs::read_to_string(task.unwrap().path().join("status")).unwrap()))
        .collect()
}

#[tokio::test]
async fn every_thread_of_a_worker_is_confined_and_none_is_there_that_the_model_does_not_need() {
    let spec = spec_edited(&package("1.0.0"), |text| {
        text.replace("threads: 1", "threads: 3")
    });
    let worker = crate::support::host().spawn(spec).await.unwrap();
    worker.infer(&sensor_rows(4)).await.unwrap();
    assert_eq!(worker.footing().gaps, []);
    assert_eq!(of_each_thread(&worker, "Seccomp:"), ["2"; 3]);
    assert_eq!(of_each_thread(&worker, "Seccomp_filters:"), ["3"; 3]);
    assert_eq!(of_each_thread(&worker, "NoNewPrivs:"), ["1"; 3]);
}

#[tokio::test]
async fn a_worker_has_no_file_open_but_its_socket_and_its_memory() {
    let worker = worker("1.0.0").await;
    worker.infer(&sensor_rows(1)).await.unwrap();
    let files = std::fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap();
    for file in files {
        let target = std::fs::read_link(file.unwrap().path()).unwrap();
        let target = target.to_string_lossy().into_owned();
        let known = [
            "socket:",
            "/memfd:millwright-tensors",
            "/dev/null",
            "pipe:",
            "/dev/pts",
            "anon_inode:",
        ];
        let log = std::fs::read_link("/proc/self/fd/2").unwrap();
        assert!(
            known.iter().any(|known| target.starts_with(known)) || Path::new(&target) == log,
            "{target}"
        );
    }
}

/// A host whose workers the kernel cannot give another layer of rules.
fn host_without_landlock(sandbox: Strictness) -> WorkerHost {
    let program = WorkerProgram {
        executable: env!("CARGO_BIN_EXE_edge-agent").into(),
        runtime: Some(runtime()),
        settings: WorkerSettings {
            sandbox,
            ..WorkerSettings::default()
        },
    };
    // The rules are those of a thread, and of what it starts.
    let host = std::thread::spawn(move || {
        for _ in 0..LAYERS_MAX {
            let everything = AccessFs::from_all(ABI::V1);
            let rules = Ruleset::default()
                .handle_access(everything)
                .unwrap()
                .create()
                .unwrap();
            let root = PathBeneath::new(PathFd::new("/").unwrap(), everything);
            rules.add_rule(root).unwrap().restrict_self().unwrap();
        }
        WorkerHost::start(program).unwrap()
    });
    host.join().unwrap()
}

#[tokio::test]
async fn where_the_kernel_cannot_confine_it_a_worker_runs_and_says_so_unless_it_is_required() {
    let host = host_without_landlock(Strictness::BestEffort);
    let worker = host.spawn(spec(&package("1.0.0"))).await.unwrap();
    worker.infer(&sensor_rows(1)).await.unwrap();
    let gaps = &worker.footing().gaps;
    assert_eq!((gaps.len(), gaps[0].open), (1, Open::Files), "{gaps:?}");
    assert_eq!(
        of_each_thread(&worker, "Seccomp:"),
        ["2"],
        "the rest is in force"
    );

    let host = host_without_landlock(Strictness::Required);
    let error = host.spawn(spec(&package("1.0.0"))).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, WorkerError::Sandbox { .. }), "{text}");
    for word in ["shuttle-anomaly@1.0.0", "Landlock", "best-effort"] {
        assert!(text.contains(word), "{text}");
    }
}
