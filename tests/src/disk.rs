//! A small disk of its own for one directory: to be filled, and to be made read-only.
//!
//! It takes the right to mount. Who has it not, as every user but root, has it in a user namespace of his own, so a case
//! is run there once more, as a whole: [`where_one_may_mount`]. Where neither is allowed the case fails and says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// Set for the case that runs in a namespace of its own.
const INSIDE: &str = "MILLWRIGHT_TESTS_MAY_MOUNT";

/// Runs `body`, which is the case of this name, where it may mount.
///
/// # Errors
/// Those of the case, and when nobody lets it mount anything, with what to do about it.
pub async fn where_one_may_mount(case: &str, body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let refused = match try_mount()? {
        None => return body().await,
        Some(refused) => refused,
    };
    let what_to_do = format!(
        "{case} needs a small disk, and mounting one was refused ({refused}): run it as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; in a container, its \
         seccomp profile)"
    );
    ensure!(std::env::var_os(INSIDE).is_none(), what_to_do);
    println!("{case}: mounting was refused ({refused}); running in a user namespace");
    let executable = std::env::current_exe().context("finding the running executable")?;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(executable)
        .args(["--exact", case, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .context("starting unshare")?;
    let told = String::from_utf8_lossy(&output.stdout);
    // A misspelled name would run nothing and end well.
    ensure!(
        output.status.success() && told.contains("1 passed"),
        "{what_to_do}; in a user namespace it ended with {}:\n{told}{}",
        output.status,
        said(&output)
    );
    Ok(())
}

/// Mounts a disk for a moment; what the system said when it refuses.
fn try_mount() -> Result<Option<String>> {
    let directory = tempfile::tempdir().context("making a mount point")?;
    let output = mount(directory.path(), 1)?;
    if !output.status.success() {
        return Ok(Some(said(&output)));
    }
    unmount(directory.path());
    Ok(None)
}

fn mount(path: &Path, mebibytes: u32) -> Result<Output> {
    let options = format!("size={mebibytes}m,mode=0700");
    Command::new("mount")
        .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
        .arg(path)
        .output()
        .context("starting mount")
}

fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("-l").arg(path).output();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// A mounted disk; unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts `mebibytes` of memory at `path`.
    ///
    /// # Errors
    /// When the system refuses; see [`where_one_may_mount`].
    pub fn mount(path: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(path).context("making the mount point")?;
        let output = mount(path, mebibytes)?;
        ensure!(output.status.success(), "mount: {}", said(&output));
        let path = path.to_owned();
        Ok(Self { path })
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
            said(&output)
        );
        Ok(())
    }

    /// Fills it to the last kibibyte with a file, and returns the file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&self) -> Result<PathBuf> {
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
        unmount(&self.path);
    }
}
