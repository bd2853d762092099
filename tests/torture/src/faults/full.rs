//! A disk that is full, and then is not.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{BEFORE, PATIENCE, Scene};
use crate::cloud::Cloud;
use crate::driver::Until;

/// Size of the disk: the smallest that holds a store.
const DISK: &str = "size=4m";

/// With the room the agent keeps free, and without: then the store itself meets the end of the disk.
pub(super) const KINDS: [(&str, u64); 2] = [
    ("a disk filled to the agent's reserve", 512 * 1024),
    ("a disk filled to the last byte", 0),
];

/// Failures to see while the disk is full.
const FAILURES: u64 = 20;

/// A small file system, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Result<Option<Self>> {
        std::fs::create_dir_all(&at).context("making a mount point")?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "millwright-torture"])
            .arg(&at)
            .stderr(Stdio::null())
            .status();
        Ok(mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(at)))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

/// Runs it; `None` where nothing may be mounted.
pub(super) fn run(dice: &mut fastrand::Rng, free_bytes_min: u64) -> Result<Option<Cloud>> {
    let mut scene = Scene::new(dice)?;
    let Some(disk) = Disk::mount(scene.directory.path().join("disk"))? else {
        return Ok(None);
    };
    let directory = disk.0.join("outbox");
    let ballast = disk.0.join("ballast");
    if let Some(mut recorder) = scene.open(&directory, free_bytes_min, &[])? {
        let pace = scene.busy();
        scene.drive(&mut recorder, pace, Until::Promised(BEFORE))?;
        fill(&ballast)?;
        let pace = scene.busy();
        scene.drive(&mut recorder, pace, Until::Failed(FAILURES))?;
        std::fs::remove_file(&ballast).context("making room")?;
        let pace = scene.busy();
        scene.drive(&mut recorder, pace, Until::WellAgain(BEFORE))?;
        recorder.close(PATIENCE)?;
    }
    let cloud = scene.settle(&directory)?;
    drop(disk);
    Ok(Some(cloud))
}

/// Takes what is left of the disk.
fn fill(ballast: &Path) -> Result<()> {
    /// Small, so that the last byte is taken too.
    const STEP: [u8; 512] = [1; 512];
    let mut file = File::create(ballast).context("making ballast")?;
    while file.write_all(&STEP).is_ok() {}
    Ok(())
}
