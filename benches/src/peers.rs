//! Programs of others, started without a service: Debian packages unpacked into `target/peers`, Python packages in a
//! virtual environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millwright_tests::checkout;

/// Unpacks a Debian package and returns the directory it lies in.
pub(crate) fn debian(package: &str) -> Result<PathBuf> {
    let directory = checkout().join("target/peers");
    let unpacked = directory.join(package);
    if unpacked.is_dir() {
        return Ok(unpacked);
    }
    std::fs::create_dir_all(&directory).context("making target/peers")?;
    succeed(
        Command::new("apt-get")
            .args(["download", "-qq", package])
            .current_dir(&directory),
    )?;
    let archive = std::fs::read_dir(&directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        })
        .with_context(|| format!("apt-get download left no {package}"))?;
    succeed(Command::new("dpkg").arg("-x").arg(archive).arg(&unpacked))?;
    Ok(unpacked)
}

/// The Python of an environment with what `benches/peers/requirements.txt` names.
pub(crate) fn python() -> Result<PathBuf> {
    environment("venv", "python3", "requirements.txt")
}

/// The Python of an environment with Triton. Its workers are linked to the system's own Python, so it is that one.
pub(crate) fn python_for_triton() -> Result<PathBuf> {
    environment("pytriton", "/usr/bin/python3", "requirements-triton.txt")
}

/// The Python of an environment in `target/peers` with what a list of `benches/peers` names.
fn environment(name: &str, base: &str, list: &str) -> Result<PathBuf> {
    let environment = checkout().join("target/peers").join(name);
    let python = environment.join("bin/python");
    let wanted = std::fs::read_to_string(file(list)).context("reading the list")?;
    let complete = environment.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    if !python.exists() {
        succeed(Command::new(base).args(["-m", "venv"]).arg(&environment))?;
    }
    succeed(
        Command::new(&python)
            .args(["-m", "pip", "install", "-q", "-r"])
            .arg(file(list)),
    )?;
    std::fs::write(complete, wanted)?;
    Ok(python)
}

/// A file of `benches/peers`.
pub(crate) fn file(name: &str) -> PathBuf {
    checkout().join("benches/peers").join(name)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// What mender's daemon wants to find before it runs.
pub(crate) fn mender_command(directory: &Path) -> Result<Command> {
    let at = |name: &str| directory.join(name);
    std::fs::create_dir_all(directory)?;
    std::fs::write(at("device_type"), "device_type=bench\n")?;
    let config = serde_json::json!({
        // Nobody listens there: an idle client between two polls.
        "ServerURL": "https://127.0.0.1:1", "DeviceTypeFile": at("device_type"),
        "UpdatePollIntervalSeconds": 1800, "InventoryPollIntervalSeconds": 28800,
    });
    std::fs::write(at("mender.conf"), config.to_string())?;
    let mut command = Command::new(debian("mender-client")?.join("usr/bin/mender"));
    command
        .arg("--config")
        .arg(at("mender.conf"))
        .arg("--data")
        .arg(directory)
        .arg("daemon");
    Ok(command)
}
