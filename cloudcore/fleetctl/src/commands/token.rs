//! `fleetctl token`.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use fleet_api::{JoinToken, JoinTokenSpec, Resource};
use jiff::Timestamp;

use super::{DryRunArgs, duration, get, mode_note};
use crate::client::{Client, Filter, Mode};
use crate::output::{self, Format, OutputArgs};

/// Characters of the site kept in a made-up name, so that it stays a DNS label of 63.
const SITE_CHARS_MAX: usize = 40;

/// Commands about join tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token; prints it, and cloudcore keeps only its hash
    #[command(after_help = "\
Examples:
  fleetctl token create --site leipzig --uses 5 --ttl 1h
  TOKEN=$(fleetctl token create --site leipzig)")]
    Create(CreateArgs),
    /// List join tokens
    #[command(after_help = "\
Examples:
  fleetctl token ls")]
    Ls(OutputArgs),
    /// End a join token early
    #[command(after_help = "\
Nodes that used it stay enrolled.

Examples:
  fleetctl token revoke leipzig-m1x2k3")]
    Revoke(RevokeArgs),
}

/// Arguments of `token create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Devices are enrolled at this site
    #[arg(long)]
    site: String,
    /// How many devices may use it
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// How long it is good for, at most a week
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION")]
    ttl: Duration,
    /// Name to list and revoke it by (default: the site and the time)
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `token revoke`.
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Name of the join token, as `token ls` shows it
    name: String,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(super) async fn run(
    command: TokenCommand,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(args) => create(args, client, out, now).await,
        TokenCommand::Ls(args) => {
            get::list::<JoinToken>(&Filter::default(), args.output, client, out, now).await
        }
        TokenCommand::Revoke(args) => {
            let mode = args.dry_run.mode();
            client.act::<JoinToken>(&args.name, "revoke", mode).await?;
            writeln!(out, "JoinToken/{} revoked{}", args.name, mode_note(mode))?;
            Ok(())
        }
    }
}

async fn create(
    args: CreateArgs,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    let ttl_seconds = u32::try_from(args.ttl.as_secs()).context("--ttl is too long")?;
    let name = args.name.unwrap_or_else(|| name_for(&args.site, now));
    let spec = JoinTokenSpec {
        site: args.site,
        uses: args.uses,
        ttl_seconds,
    };
    let created = client
        .create::<JoinToken>(&Resource::new(name, spec), Mode::Do)
        .await?;
    let token = created
        .status
        .token
        .clone()
        .context("cloudcore did not hand out the token; is fleetctl of the same version?")?;
    match args.output.output {
        // The token alone, so that $(...) takes it.
        Format::Table | Format::Wide => {
            writeln!(out, "{token}")?;
            eprintln!(
                "Join token `{}` for site `{}`, {} use(s), good for {}s. On the device:",
                created.metadata.name,
                created.spec.site,
                created.spec.uses,
                created.spec.ttl_seconds
            );
            eprintln!("  edge-agent enroll --cloud HOST:8443 --token <token> --trust-key KEY.pub");
            Ok(())
        }
        format @ (Format::Json | Format::Yaml | Format::Name) => {
            output::object(out, format, created, now)
        }
    }
}

/// A name that two tokens of one site share only when made in the same millisecond, in which case
/// cloudcore refuses the second.
fn name_for(site: &str, now: Timestamp) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = now.as_millisecond().unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 {
        digits.push(char::from(DIGITS[usize::try_from(rest % 36).unwrap_or(0)]));
        rest /= 36;
    }
    let site: String = site.chars().take(SITE_CHARS_MAX).collect();
    let digits: String = digits.into_iter().rev().collect();
    format!("{site}-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_dns_labels_that_sort_by_time() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let (one, two) = (
            name_for("leipzig", at(1_763_000_000_000)),
            name_for("leipzig", at(1_763_000_000_001)),
        );
        assert!(one < two, "{one} {two}");
        assert!(
            one.parse::<millwright_proto::ids::NodeName>().is_ok(),
            "{one}"
        );
    }
}
