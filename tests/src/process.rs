//! One real process: started with its output in a file, killed or ended, never left behind.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// A running (or ended) process. Dropping it kills it.
pub struct Process {
    name: String,
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening the log {}", log.display()))?;
        let errors = output.try_clone().context("sharing the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child: Some(child),
            log: log.to_owned(),
        })
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn id(&self) -> Result<u32> {
        let child = self
            .child
            .as_ref()
            .with_context(|| format!("{} is not running", self.name))?;
        Ok(child.id())
    }

    /// Everything it wrote so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log_text(&self) -> Result<String> {
        std::fs::read_to_string(&self.log)
            .with_context(|| format!("reading the log {}", self.log.display()))
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Fails with the end of its log when it has ended by itself.
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn check_running(&mut self) -> Result<()> {
        let child = self
            .child
            .as_mut()
            .with_context(|| format!("{} is not running", self.name))?;
        if let Some(status) = child.try_wait()? {
            self.child = None;
            bail!(
                "{} ended with {status}; the end of its log:\n{}",
                self.name,
                self.log_tail()?
            );
        }
        Ok(())
    }

    /// Ends it as a power cut would: SIGKILL, no warning.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .with_context(|| format!("killing {}", self.name))?;
            child
                .wait()
                .with_context(|| format!("waiting for {}", self.name))?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not end within `deadline` or does not end well.
    pub async fn stop(&mut self, deadline: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait(deadline).await?;
        if !status.success() {
            bail!(
                "{} ended with {status} after SIGTERM:\n{}",
                self.name,
                self.log_tail()?
            );
        }
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not within `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let Some(child) = self.child.as_mut() else {
            return Ok(ExitStatus::from_raw(0));
        };
        let what = format!("end of {}", self.name);
        let status = until(&what, deadline, async || Ok(child.try_wait()?)).await?;
        self.child = None;
        Ok(status)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended or the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()?).context("process id")?;
        let id = Pid::from_raw(id).context("process id 0")?;
        kill_process(id, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Leaves it running for good and tells its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn leave_running(mut self) -> Result<u32> {
        let id = self.id()?;
        self.child = None;
        Ok(id)
    }

    fn log_tail(&self) -> Result<String> {
        /// Lines of a log that explain an unexpected end.
        const LINES: usize = 30;
        let text = self.log_text()?;
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a process weighs, from `/proc/<pid>/smaps_rollup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Proportional set size in bytes: shared pages count in shares.
    pub pss_bytes: u64,
    /// Pages only this process has and wrote to, in bytes.
    pub private_dirty_bytes: u64,
}

impl Memory {
    /// Of one process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(process: u32) -> Result<Self> {
        let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
            .with_context(|| format!("reading the memory of process {process}"))?;
        let field = |name: &str| -> Result<u64> {
            let line = rollup
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .context("a field is missing")?;
            let kibibytes: u64 = line
                .trim()
                .trim_end_matches("kB")
                .trim()
                .parse()
                .context("reading kibibytes")?;
            Ok(kibibytes * 1024)
        };
        Ok(Self {
            pss_bytes: field("Pss:")?,
            private_dirty_bytes: field("Private_Dirty:")?,
        })
    }

    /// Of the children of a process, together.
    ///
    /// # Errors
    /// When the process or a child ends meanwhile.
    pub fn of_children(process: u32) -> Result<Self> {
        let mut sum = Self::default();
        for task in
            std::fs::read_dir(format!("/proc/{process}/task")).context("listing the threads")?
        {
            let children =
                std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let memory = Self::of(child.parse().context("reading a process id")?)?;
                sum.pss_bytes += memory.pss_bytes;
                sum.private_dirty_bytes += memory.private_dirty_bytes;
            }
        }
        Ok(sum)
    }
}
