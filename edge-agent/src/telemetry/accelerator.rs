//! Accelerators as far as the kernel tells of them: no library of a vendor is loaded for this.
//!
//! | what | where |
//! |---|---|
//! | NVIDIA Jetson | `devices/{gpu.0,platform/*.gpu}/load` in tenths of a percent; thermal zone `GPU-therm` or `gpu-thermal` |
//! | Arm Mali, Rockchip NPU | `class/devfreq/*{gpu,npu,mali}*/load` as `37@800000000Hz` |
//! | Qualcomm Adreno | `class/kgsl/kgsl-3d0/gpu_busy_percentage` as `12 %` |
//! | AMD | `class/drm/card*/device/{gpu_busy_percent,mem_info_vram_used}` |
//! | Coral Edge TPU | `class/apex/apex_*/temp` in thousandths of a degree |
//! | any card with a sensor | `class/drm/card*/device/hwmon/hwmon*/temp1_input` |
//!
//! A discrete NVIDIA card tells nothing without NVML, and a Rockchip NPU without devfreq only in debugfs: those stay absent.

use std::path::{Path, PathBuf};

/// Entries of one directory that are looked at; a board has a handful.
const ENTRIES_MAX: usize = 64;

/// What was found; `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accelerators {
    /// How busy the busiest is, 0 to 100.
    pub percent: Option<f64>,
    /// How hot the hottest is.
    pub celsius: Option<f64>,
    /// Memory in use on those that have their own.
    pub memory_used_bytes: Option<f64>,
}

/// Looks once; `sys` is where sysfs is mounted.
#[must_use]
pub fn sample(sys: &Path) -> Accelerators {
    let cards = entries(&sys.join("class/drm"), |name| {
        name.starts_with("card") && !name.contains('-')
    });
    let cards: Vec<PathBuf> = cards.into_iter().map(|card| card.join("device")).collect();
    let memory = cards
        .iter()
        .filter_map(|card| number(&card.join("mem_info_vram_used")));
    Accelerators {
        percent: busy(sys, &cards).into_iter().reduce(f64::max),
        celsius: heat(sys, &cards).into_iter().reduce(f64::max),
        memory_used_bytes: memory.reduce(|a, b| a + b),
    }
}

fn busy(sys: &Path, cards: &[PathBuf]) -> Vec<f64> {
    let mut found = Vec::new();
    let mut jetson = entries(&sys.join("devices/platform"), |name| name.ends_with(".gpu"));
    jetson.push(sys.join("devices/gpu.0"));
    found.extend(
        jetson
            .iter()
            .filter_map(|gpu| number(&gpu.join("load")))
            .map(|load| load / 10.0),
    );
    let devfreq = entries(&sys.join("class/devfreq"), |name| {
        ["gpu", "npu", "mali"]
            .iter()
            .any(|part| name.contains(part))
    });
    found.extend(
        devfreq
            .iter()
            .filter_map(|device| number(&device.join("load"))),
    );
    found.extend(number(&sys.join("class/kgsl/kgsl-3d0/gpu_busy_percentage")));
    found.extend(
        cards
            .iter()
            .filter_map(|card| number(&card.join("gpu_busy_percent"))),
    );
    found.retain(|percent| (0.0..=100.0).contains(percent));
    found
}

fn heat(sys: &Path, cards: &[PathBuf]) -> Vec<f64> {
    let mut files: Vec<PathBuf> = Vec::new();
    for zone in entries(&sys.join("class/thermal"), |name| {
        name.starts_with("thermal_zone")
    }) {
        let kind = std::fs::read_to_string(zone.join("type")).unwrap_or_default();
        let kind = kind.to_ascii_lowercase();
        if kind.contains("gpu") || kind.contains("npu") {
            files.push(zone.join("temp"));
        }
    }
    for card in cards {
        let sensors = entries(&card.join("hwmon"), |name| name.starts_with("hwmon"));
        files.extend(sensors.into_iter().map(|sensor| sensor.join("temp1_input")));
    }
    let corals = entries(&sys.join("class/apex"), |name| name.starts_with("apex_"));
    files.extend(corals.into_iter().map(|coral| coral.join("temp")));
    let millidegrees = files.iter().filter_map(|file| number(file));
    millidegrees
        .map(|millidegrees| millidegrees / 1000.0)
        .collect()
}

/// Entries of a directory whose name is wanted; none when there is no such directory.
fn entries(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(listed) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let listed = listed.filter_map(Result::ok).take(ENTRIES_MAX);
    let wanted = listed.filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    wanted.map(|entry| entry.path()).collect()
}

/// The number a file begins with.
fn number(file: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let text = text.trim_start();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '-'))
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(files: &[(&str, &str)]) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = sys.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        sys
    }

    fn check(files: &[(&str, &str)], percent: Option<f64>, celsius: Option<f64>) {
        let sys = board(files);
        let found = sample(sys.path());
        assert_eq!(
            (found.percent, found.celsius),
            (percent, celsius),
            "{files:?}"
        );
    }

    #[test]
    fn a_machine_without_an_accelerator_tells_nothing() {
        check(
            &[("class/thermal/thermal_zone0/type", "x86_pkg_temp\n")],
            None,
            None,
        );
    }

    #[test]
    fn boards_tell_in_their_own_ways() {
        let jetson = [
            ("devices/platform/17000000.gpu/load", "375\n"),
            ("class/thermal/thermal_zone1/type", "GPU-therm\n"),
            ("class/thermal/thermal_zone1/temp", "48500\n"),
            ("class/thermal/thermal_zone0/type", "CPU-therm\n"),
            ("class/thermal/thermal_zone0/temp", "90000\n"),
        ];
        check(&jetson, Some(37.5), Some(48.5));
        let rockchip = [
            ("class/devfreq/fb000000.gpu/load", "12@300000000Hz\n"),
            ("class/devfreq/fdab0000.npu/load", "64@1000000000Hz\n"),
            ("class/devfreq/dmc/load", "99@1Hz\n"),
        ];
        check(&rockchip, Some(64.0), None);
        check(
            &[("class/kgsl/kgsl-3d0/gpu_busy_percentage", "7 %\n")],
            Some(7.0),
            None,
        );
        check(&[("class/apex/apex_0/temp", "61250\n")], None, Some(61.25));
    }

    #[test]
    fn a_card_tells_its_memory_and_a_connector_is_no_card() {
        let sys = board(&[
            ("class/drm/card0/device/gpu_busy_percent", "31\n"),
            ("class/drm/card0/device/mem_info_vram_used", "1048576\n"),
            ("class/drm/card0/device/hwmon/hwmon3/temp1_input", "55000\n"),
            ("class/drm/card0-HDMI-A-1/device/gpu_busy_percent", "99\n"),
        ]);
        let found = sample(sys.path());
        let expected = Accelerators {
            percent: Some(31.0),
            celsius: Some(55.0),
            memory_used_bytes: Some(1_048_576.0),
        };
        assert_eq!(found, expected);
    }
}
