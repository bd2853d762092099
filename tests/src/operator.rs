//! What a person does at the box: `edge-agent status`, `edge-agent hold`, and pulling the disk away.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::program;

/// Runs `edge-agent` with `arguments` on a data directory, whatever comes out of it.
///
/// # Errors
/// When it cannot be started.
pub fn at_the_box(data_directory: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(program("edge-agent")?)
        .args(arguments)
        .arg("--data-dir")
        .arg(data_directory)
        .output()
        .context("starting edge-agent")
}

/// Runs it and returns its standard output.
///
/// # Errors
/// When it fails, with what it said.
pub fn at_the_box_ok(data_directory: &Path, arguments: &[&str]) -> Result<String> {
    let output = at_the_box(data_directory, arguments)?;
    ensure!(
        output.status.success(),
        "edge-agent {} ended with {}:\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What `edge-agent status -o json` tells of a running agent.
///
/// # Errors
/// When it fails.
pub fn status(data_directory: &Path) -> Result<Value> {
    let text = at_the_box_ok(data_directory, &["status", "-o", "json"])?;
    serde_json::from_str(&text).context("reading the status")
}

/// The processes that hold the models of an agent.
///
/// # Errors
/// When the agent has ended.
pub fn workers(agent: u32) -> Result<Vec<i32>> {
    let mut workers = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{agent}/task")).context("listing the threads")? {
        let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            workers.push(child.parse().context("reading a process id")?);
        }
    }
    Ok(workers)
}

/// A small disk of its own, below one directory. Needs the right to mount; unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts `mebibytes` of memory at `path`; `None` when this machine does not let us.
    ///
    /// # Errors
    /// When the directory cannot be made or `mount` not be started.
    pub fn mount(path: &Path, mebibytes: u32) -> Result<Option<Self>> {
        std::fs::create_dir_all(path).context("making the mount point")?;
        let size = format!("size={mebibytes}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .output()
            .context("starting mount")?;
        Ok(mounted.status.success().then(|| Self {
            path: path.to_owned(),
        }))
    }

    /// Mounts it again with other options, for example `ro`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remount(&self, options: &str) -> Result<()> {
        let output = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.path)
            .output()
            .context("starting mount")?;
        ensure!(
            output.status.success(),
            "remount {options}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Fills it to the last kibibyte with a file, and returns the file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&self) -> Result<PathBuf> {
        use std::io::Write;
        let path = self.path.join("filler");
        let mut file = std::fs::File::create(&path).context("making the filler")?;
        let block = vec![0_u8; 64 * 1024];
        // It ends with the disk.
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..1024]).is_ok() {}
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}
