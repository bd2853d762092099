//! How much memory workers may use together, and what each of them takes of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use edge_core::memory::{Claim, admit};
use edge_core::models::{Failure, FailureClass, PackageId};
use millwright_package::Manifest;

use crate::worker::WorkerSpec;

const MIB: u64 = 1024 * 1024;

/// Share of the machine or container that workers may use when the configuration names no number: the rest is
/// for the agent, the system and what else runs on the box.
const SHARE_EIGHTHS: u64 = 7;

/// What ONNX Runtime itself needs with the smallest model.
const RUNTIME_BYTES: u64 = 48 * MIB;

/// Times the size of its file that a model without a declared limit is expected to need: the weights, and
/// the copies ONNX Runtime arranges for the processor.
const FILE_TIMES: u64 = 2;

/// Memory that this machine has, or the container the agent runs in; `None` where neither tells.
fn of_machine() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let total = read(Path::new("/proc/meminfo"))
        .as_deref()
        .and_then(total_bytes);
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let limits = limit_files(&group).into_iter();
    let limits = limits.filter_map(|file| read(&root.join(file))?.trim().parse().ok());
    limits.chain(total).min()
}

/// The files, below the root of all groups, that limit a process with this `/proc/self/cgroup`: its group
/// and those it is in. Inside a container its own group is the root.
fn limit_files(cgroup: &str) -> Vec<String> {
    let mut files = vec![
        "memory.max".to_owned(),
        "memory/memory.limit_in_bytes".to_owned(),
    ];
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (below, file) = match controllers {
            "" => ("", "memory.max"),
            controllers if controllers.split(',').any(|name| name == "memory") => {
                ("memory/", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = path.trim_matches('/');
        while !group.is_empty() {
            files.push(format!("{below}{group}/{file}"));
            group = group.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }
    files
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let value = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The memory of all workers together, as far as it is promised.
#[derive(Debug)]
pub struct Budget {
    /// `None`: nobody knows how much there is, so nothing is refused.
    bytes: Option<u64>,
    /// What is being started and has no process to measure yet.
    starting: BTreeMap<PackageId, Claim>,
}

impl Budget {
    /// `configured`, or what the machine has.
    #[must_use]
    pub fn new(configured: Option<u64>) -> Self {
        Self {
            bytes: configured.or_else(|| Some(of_machine()? / 8 * SHARE_EIGHTHS)),
            starting: BTreeMap::new(),
        }
    }

    /// What workers may use.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Sets memory aside for a worker that is about to start beside `running`.
    pub(super) fn set_aside(
        &mut self,
        package: &PackageId,
        spec: &WorkerSpec,
        running: impl Iterator<Item = Claim>,
    ) -> Result<(), Failure> {
        let new = expected(spec);
        if let Some(bytes) = self.bytes {
            let others = running.chain(self.starting.values().copied());
            admit(bytes, others, new).map_err(|shortage| Failure {
                class: FailureClass::Memory,
                message: format!(
                    "the worker of {} does not fit into memory: {shortage}; declare less in spec.limits.memoryMib of the manifest, allow a gap with spec.strategy.gap of the deployment, or raise worker.memoryMib",
                    package.version
                ),
            })?;
        }
        self.starting.insert(package.clone(), new);
        Ok(())
    }

    /// The start ended, well or not: a worker that runs is measured.
    pub(super) fn started(&mut self, package: &PackageId) {
        self.starting.remove(package);
    }
}

/// What `manifest` declares.
pub(super) fn declared(manifest: &Manifest) -> Option<u64> {
    let mib = manifest.limits.memory_mib.map(NonZeroU32::get)?;
    Some(u64::from(mib) * MIB)
}

/// What a worker is going to need, before there is one.
fn expected(spec: &WorkerSpec) -> Claim {
    let declared_bytes = declared(&spec.manifest);
    let file = std::fs::metadata(spec.directory.join(spec.manifest.file.as_str()));
    let file_bytes = file.map_or(0, |file| file.len());
    let guessed = RUNTIME_BYTES.saturating_add(file_bytes.saturating_mul(FILE_TIMES));
    Claim {
        measured_bytes: declared_bytes.unwrap_or(guessed),
        declared_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_group_and_of_those_it_is_in_are_looked_at() {
        let v2 = limit_files("0::/system.slice/edge-agent.service\n");
        for file in [
            "memory.max",
            "system.slice/memory.max",
            "system.slice/edge-agent.service/memory.max",
        ] {
            assert!(v2.iter().any(|found| found == file), "{file}: {v2:?}");
        }
        let v1 = limit_files("5:cpu,memory:/docker/1f\n4:cpuset:/other\n");
        assert!(
            v1.iter()
                .any(|file| file == "memory/docker/1f/memory.limit_in_bytes")
        );
        assert!(!v1.iter().any(|file| file.contains("other")));
    }

    #[test]
    fn there_is_a_budget_on_a_machine_and_a_configured_one_comes_first() {
        let machine = Budget::new(None).bytes().unwrap();
        assert!(machine > 64 * MIB && machine < of_machine().unwrap());
        assert_eq!(Budget::new(Some(5)).bytes(), Some(5));
        assert_eq!(
            total_bytes("MemTotal:  16 kB\nMemFree: 1 kB\n"),
            Some(16 * 1024)
        );
    }
}
