//! A real `cloudcore serve` and a `fleetctl` logged in to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::packages::Package;
use crate::process::Process;
use crate::program;
use crate::wait::until;

/// First start makes keys and a store; debug builds on a loaded machine take seconds.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A debug build drains its sessions well within this.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Where cloudcore listens, as it says in `addresses.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudAddresses {
    /// The REST API.
    pub api: SocketAddr,
    /// Agents over WebSocket.
    pub websocket: SocketAddr,
    /// Agents over QUIC.
    pub quic: SocketAddr,
    /// Its own metrics.
    pub metrics: SocketAddr,
    /// What `fleetctl login --ca-pin` wants.
    pub ca_pin: String,
}

/// A running cloudcore with its data below one directory.
pub struct Cloud {
    directory: PathBuf,
    addresses: CloudAddresses,
    process: Process,
    /// Flags of `cloudcore serve` beside those every case has.
    flags: Vec<String>,
}

impl Cloud {
    /// Starts cloudcore on ports the system chooses, with `<directory>/cloud` as data directory, and logs
    /// fleetctl in as admin.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(directory: &Path) -> Result<Self> {
        Self::start_with(directory, &[]).await
    }

    /// Like [`Cloud::start`], with further flags of `cloudcore serve`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_with(directory: &Path, flags: &[&str]) -> Result<Self> {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let (process, addresses) = serve(directory, [loopback; 4], &flags).await?;
        let cloud = Self {
            directory: directory.to_owned(),
            addresses,
            process,
            flags,
        };
        cloud.login()?;
        Ok(cloud)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &CloudAddresses {
        &self.addresses
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("cloud")
    }

    /// The process, to be killed or asked.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a power cut would and starts it again on the same ports.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.start_again().await
    }

    /// Starts it again on the same ports after it was killed.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn start_again(&mut self) -> Result<()> {
        let at = &self.addresses;
        let listen = [at.api, at.websocket, at.quic, at.metrics];
        (self.process, self.addresses) = serve(&self.directory, listen, &self.flags).await?;
        Ok(())
    }

    /// Ends it well.
    ///
    /// # Errors
    /// When it does not end or not well.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP_DEADLINE).await
    }

    /// Leaves it running for good and tells its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn leave_running(self) -> Result<u32> {
        self.process.leave_running()
    }

    /// Runs fleetctl with the admin's context, whatever comes out of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn fleetctl_output(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(program("fleetctl")?)
            .args(arguments)
            .env("FLEETCTL_CONFIG", self.fleetctl_config())
            .env("NO_COLOR", "1")
            .output()
            .context("starting fleetctl")
    }

    /// Runs fleetctl and returns its standard output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn fleetctl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.fleetctl_output(arguments)?;
        ensure!(
            output.status.success(),
            "fleetctl {} ended with {}:\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8(output.stdout).context("fleetctl wrote something that is not UTF-8")
    }

    /// Runs fleetctl with `-o json` and reads what it prints.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn fleetctl_json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.fleetctl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| {
            format!(
                "reading the JSON of fleetctl {}:\n{text}",
                arguments.join(" ")
            )
        })
    }

    /// Applies documents.
    ///
    /// # Errors
    /// When fleetctl refuses them.
    pub fn apply(&self, documents: &str) -> Result<String> {
        let file = self.directory.join("apply.yaml");
        std::fs::write(&file, documents).context("writing the documents to apply")?;
        self.fleetctl(&["apply", "-f", &file.display().to_string()])
    }

    /// Creates a site.
    ///
    /// # Errors
    /// When fleetctl refuses it.
    pub fn create_site(&self, site: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: millwright/v1\nkind: Site\nmetadata: {{name: {site}}}\nspec: {{}}\n"
        ))?;
        Ok(())
    }

    /// Makes a join token for one device.
    ///
    /// # Errors
    /// When fleetctl refuses.
    pub fn join_token(&self, site: &str) -> Result<String> {
        let text = self.fleetctl(&[
            "token", "create", "--site", site, "--uses", "1", "--ttl", "10m",
        ])?;
        Ok(text.trim().to_owned())
    }

    /// Makes the key packages are signed with (once); returns its path. The public half is beside it, `.pub`.
    ///
    /// # Errors
    /// When fleetctl fails.
    pub fn signing_key(&self) -> Result<PathBuf> {
        let key = self.directory.join("signing.key");
        if !key.exists() {
            self.fleetctl(&["model", "keygen", "--out", &key.display().to_string()])?;
        }
        Ok(key)
    }

    /// Signs and pushes one of the real packages.
    ///
    /// # Errors
    /// When fleetctl refuses it.
    pub fn publish(&self, package: Package) -> Result<()> {
        self.publish_directory(&package.copy_to(&self.directory.join("packages"))?)
    }

    /// Signs and pushes the package in a directory of the case's own.
    ///
    /// # Errors
    /// When fleetctl refuses it.
    pub fn publish_directory(&self, package: &Path) -> Result<()> {
        let package = package.display().to_string();
        let key = self.signing_key()?.display().to_string();
        self.fleetctl(&["model", "pack", &package, "--key", &key])?;
        self.fleetctl(&["model", "push", &package])?;
        Ok(())
    }

    /// Deploys `package` to every node, in one wave.
    ///
    /// # Errors
    /// When fleetctl refuses.
    pub fn deploy(&self, package: Package) -> Result<()> {
        self.deploy_version(package.model(), package.version())
    }

    /// As [`Self::deploy`], of a model that is no [`Package`].
    ///
    /// # Errors
    /// When fleetctl refuses.
    pub fn deploy_version(&self, model: &str, version: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: millwright/v1\nkind: ModelDeployment\nmetadata: {{name: {model}}}\n\
             spec: {{model: {model}, version: {version}, strategy: {{proveForSeconds: 1}}}}\n"
        ))?;
        Ok(())
    }

    /// Waits until the newest rollout of a model's deployment has succeeded.
    ///
    /// # Errors
    /// When it fails or takes longer than `timeout` (for example `60s`).
    pub fn await_rollout(&self, package: Package, timeout: &str) -> Result<String> {
        self.await_rollout_of(package.model(), timeout)
    }

    /// As [`Self::await_rollout`], of a model that is no [`Package`].
    ///
    /// # Errors
    /// When it fails or takes longer than `timeout`.
    pub fn await_rollout_of(&self, model: &str, timeout: &str) -> Result<String> {
        let words = ["rollout", "status", "--deployment", model];
        self.fleetctl(&[&words[..], &["--timeout", timeout]].concat())
    }

    /// The file that holds the admin's context.
    #[must_use]
    pub fn fleetctl_config(&self) -> PathBuf {
        self.directory.join("fleetctl.yaml")
    }

    fn login(&self) -> Result<()> {
        let cloud = format!("https://{}", self.addresses.api);
        let token = self
            .data_directory()
            .join("admin.token")
            .display()
            .to_string();
        let pin = &self.addresses.ca_pin;
        self.fleetctl(&[
            "login",
            "--cloud",
            &cloud,
            "--token-file",
            &token,
            "--ca-pin",
            pin,
        ])?;
        Ok(())
    }
}

/// Starts `cloudcore serve` listening on `[api, websocket, quic, metrics]` and waits for its addresses.
async fn serve(
    directory: &Path,
    listen: [SocketAddr; 4],
    flags: &[String],
) -> Result<(Process, CloudAddresses)> {
    let data = directory.join("cloud");
    let file = data.join("addresses.json");
    if file.exists() {
        std::fs::remove_file(&file).context("removing the old addresses")?;
    }
    let [api, websocket, quic, metrics] = listen.map(|address| address.to_string());
    let mut command = Command::new(program("cloudcore")?);
    command.args([
        "serve",
        "--api-address",
        &api,
        "--websocket-address",
        &websocket,
    ]);
    command.args(["--quic-address", &quic, "--metrics-address", &metrics]);
    command
        .args(["--advertise-host", "127.0.0.1"])
        .args(flags)
        .arg("--data-dir")
        .arg(&data);
    let mut process = Process::start("cloudcore", &mut command, &directory.join("cloudcore.log"))?;
    let addresses = until("addresses.json of cloudcore", START_DEADLINE, async || {
        process.check_running()?;
        read_json(&file)
    })
    .await?;
    Ok((process, addresses))
}

/// Reads a JSON file that appears by atomic rename; `None` while it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    if !file.exists() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(Some(
        serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?,
    ))
}
