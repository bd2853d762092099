//! The node: processor, memory, disk, temperature, and what the agent itself uses.

use std::path::{Path, PathBuf};

use millwright_summary::gauge;

use super::{Recorder, accelerator};

/// Samples the node into a recorder.
#[derive(Debug)]
pub struct Sampler {
    data_dir: PathBuf,
    cpu: Option<CpuTimes>,
}

/// Jiffies since boot, over all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl Sampler {
    /// The disk is the one `data_dir` lies on.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        let cpu = read("/proc/stat").as_deref().and_then(cpu_times);
        Self { data_dir, cpu }
    }

    /// Takes one sample of everything the node can tell. `workers_bytes` is the memory of all workers.
    pub fn sample(&mut self, recorder: &Recorder, workers_bytes: u64) {
        let before = self.cpu;
        self.cpu = read("/proc/stat").as_deref().and_then(cpu_times);
        if let (Some(before), Some(now)) = (before, self.cpu)
            && now.total > before.total
        {
            let busy = now.busy.saturating_sub(before.busy) as f64;
            recorder.gauge(
                gauge::CPU_PERCENT,
                100.0 * busy / (now.total - before.total) as f64,
            );
        }
        if let Some((total, available)) = read("/proc/meminfo").as_deref().and_then(memory_bytes) {
            recorder.gauge(gauge::MEMORY_TOTAL_BYTES, total as f64);
            recorder.gauge(
                gauge::MEMORY_USED_BYTES,
                total.saturating_sub(available) as f64,
            );
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            let used = disk.f_blocks.saturating_sub(disk.f_bfree);
            recorder.gauge(
                gauge::DISK_TOTAL_BYTES,
                (disk.f_blocks * disk.f_frsize) as f64,
            );
            recorder.gauge(gauge::DISK_USED_BYTES, (used * disk.f_frsize) as f64);
        }
        if let Some(celsius) = hottest_celsius(Path::new("/sys/class/thermal")) {
            recorder.gauge(gauge::TEMPERATURE_CELSIUS, celsius);
        }
        let accelerators = accelerator::sample(Path::new("/sys"));
        for (name, value) in [
            (gauge::ACCELERATOR_PERCENT, accelerators.percent),
            (gauge::ACCELERATOR_CELSIUS, accelerators.celsius),
            (
                gauge::ACCELERATOR_MEMORY_USED_BYTES,
                accelerators.memory_used_bytes,
            ),
        ] {
            if let Some(value) = value {
                recorder.gauge(name, value);
            }
        }
        if let Some(own) = process_memory_bytes("self") {
            recorder.gauge(gauge::AGENT_MEMORY_BYTES, (own + workers_bytes) as f64);
        }
    }
}

/// Memory of a process (`self` or a process id) in bytes: its proportional share of shared pages where the
/// kernel tells (it needs to be ours), else its resident set.
#[must_use]
pub fn process_memory_bytes(process: &str) -> Option<u64> {
    let rollup = read(&format!("/proc/{process}/smaps_rollup"));
    let share = rollup.as_deref().and_then(|text| kibibytes(text, "Pss:"));
    share.or_else(|| kibibytes(&read(&format!("/proc/{process}/status"))?, "VmRSS:"))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal; the guest times after
/// them are contained in user and nice.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|time| time.parse().ok())
        .collect();
    let idle = times.get(3)? + times.get(4)?;
    let total: u64 = times.iter().sum();
    Some(CpuTimes {
        busy: total.saturating_sub(idle),
        total,
    })
}

/// Total and available memory.
fn memory_bytes(meminfo: &str) -> Option<(u64, u64)> {
    Some((
        kibibytes(meminfo, "MemTotal:")?,
        kibibytes(meminfo, "MemAvailable:")?,
    ))
}

/// The value of a `Key:   123 kB` line, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// The hottest of the thermal zones below `directory`; `None` where the machine has none.
fn hottest_celsius(directory: &Path) -> Option<f64> {
    let zones = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    zones
        .filter_map(|zone| std::fs::read_to_string(zone.path().join("temp")).ok())
        .filter_map(|text| text.trim().parse::<f64>().ok())
        .map(|millidegrees| millidegrees / 1000.0)
        .reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_busy_unless_idle_or_waiting_for_disk() {
        let stat = "cpu  100 10 40 800 50 0 5 5 77 3\ncpu0 1 2 3 4\n";
        let times = cpu_times(stat).unwrap();
        assert_eq!((times.busy, times.total), (160, 1010));
        assert_eq!(cpu_times("cpu  1 2\n"), None);
        assert_eq!(cpu_times("nothing"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    4000 kB\n";
        assert_eq!(memory_bytes(meminfo), Some((16_384_000, 4_096_000)));
        assert!(process_memory_bytes("self").is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn the_hottest_zone_counts_and_a_machine_without_one_has_no_temperature() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(hottest_celsius(directory.path()), None);
        for (zone, text) in [
            ("thermal_zone0", "41500\n"),
            ("thermal_zone1", "63000\n"),
            ("cooling", ""),
        ] {
            std::fs::create_dir(directory.path().join(zone)).unwrap();
            std::fs::write(directory.path().join(zone).join("temp"), text).unwrap();
        }
        assert_eq!(hottest_celsius(directory.path()), Some(63.0));
    }
}
