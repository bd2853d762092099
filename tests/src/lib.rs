//! The harness: starts the real programs as real processes and lets a case do to them what a factory would.
//!
//! Owns processes ([`process`]), the two programs under test ([`cloud`], [`agent`], together [`fleet`]), what stands around them
//! ([`broker`], [`camera`], [`fusion`], [`wan`], [`proxy`], [`packages`]), a client of the inference protocol ([`infer`]),
//! what was committed against what was counted ([`commits`]), the person at the box ([`operator`]), a disk that fills up
//! ([`disk`]) and the one way of
//! waiting ([`wait`]). Everything listens on ports the system chose and writes below one temporary directory
//! per case. It knows the programs only from outside: flags, files, ports, the public API.

pub mod agent;
pub mod broker;
pub mod camera;
pub mod cloud;
pub mod commits;
pub mod disk;
pub mod fleet;
pub mod fusion;
pub mod infer;
pub mod operator;
pub mod packages;
pub mod process;
pub mod proxy;
pub mod wait;
pub mod wan;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The top of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program of this workspace, built by the same `cargo` run as the caller.
///
/// # Errors
/// When it is not beside the running executable, with the command that builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let executable = std::env::current_exe().context("finding the running executable")?;
    executable
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: run `cargo build --workspace` first"))
}
