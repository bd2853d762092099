//! The real model packages and the runtime that executes them, as `tests/setup/setup.sh` lays them out.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::checkout;

/// One model package of the test fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// CenterFace in 32-bit floats.
    FaceDetector1,
    /// CenterFace quantised to 8-bit integers.
    FaceDetector2,
    /// An isolation forest on the Shuttle sensors.
    ShuttleAnomaly1,
    /// The same, retrained.
    ShuttleAnomaly2,
}

impl Package {
    /// Every package.
    pub const ALL: [Self; 4] = [
        Self::FaceDetector1,
        Self::FaceDetector2,
        Self::ShuttleAnomaly1,
        Self::ShuttleAnomaly2,
    ];

    /// The model's name.
    #[must_use]
    pub fn model(self) -> &'static str {
        match self {
            Self::FaceDetector1 | Self::FaceDetector2 => "face-detector",
            Self::ShuttleAnomaly1 | Self::ShuttleAnomaly2 => "shuttle-anomaly",
        }
    }

    /// The model's version.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::FaceDetector1 | Self::ShuttleAnomaly1 => "1.0.0",
            Self::FaceDetector2 | Self::ShuttleAnomaly2 => "2.0.0",
        }
    }

    /// Where the set-up built it. Shared by all cases: copy before changing anything.
    ///
    /// # Errors
    /// When the set-up has not run.
    pub fn source(self) -> Result<PathBuf> {
        let name = format!("{}-{}", self.model(), self.version());
        set_up(checkout().join("target/models").join(name))
    }

    /// Copies it below `directory`, where it may be signed or broken.
    ///
    /// # Errors
    /// When the set-up has not run or the copy fails.
    pub fn copy_to(self, directory: &Path) -> Result<PathBuf> {
        let target = directory.join(format!("{}-{}", self.model(), self.version()));
        copy_tree(&self.source()?, &target)?;
        Ok(target)
    }
}

/// The shared library of ONNX Runtime for this machine.
///
/// # Errors
/// When the set-up has not run.
pub fn onnxruntime() -> Result<PathBuf> {
    let directory = checkout()
        .join("target/onnxruntime")
        .join(std::env::consts::ARCH);
    set_up(directory.join("libonnxruntime.so.1.31.1"))
}

/// The Python with the clients some cases use.
///
/// # Errors
/// When the set-up has not run.
pub fn python() -> Result<PathBuf> {
    set_up(checkout().join("target/venv/bin/python"))
}

/// A model of another maker, by its name in `target/zoo`. Shared by all cases.
///
/// # Errors
/// When the set-up has not run.
pub fn zoo(name: &str) -> Result<PathBuf> {
    set_up(checkout().join("target/zoo").join(name))
}

/// A file of `tests/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    checkout().join("tests/data").join(name)
}

fn set_up(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.exists(),
        "{} is missing: run `make setup` first",
        path.display()
    );
    Ok(path)
}

/// Copies a directory with everything in it.
///
/// # Errors
/// When reading or writing fails.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
