//! The cases: real processes doing the product's job, and the rules a script can check.

mod autonomy;
mod certificates;
mod clients;
mod crash;
mod identity;
mod insight;
mod lifecycle;
mod neighbours;
mod operations;
mod pack;
mod pipelines;
mod refusals;
mod storm;
mod swap;
mod tidy;
mod transport;
mod workers;

use anyhow::{Context as _, Result};

/// A whole number from the environment, for the long form of a case.
fn scale(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("reading {variable}")),
        Err(_) => Ok(default),
    }
}
