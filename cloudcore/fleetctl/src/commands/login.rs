//! `fleetctl login`.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use fleet_api::Site;

use crate::client::{Client, Filter};
use crate::context::{self, Access, ApiToken, DEFAULT_CONTEXT, Environment};

/// Longest token; those of cloudcore have less than 100 bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Arguments of `login`.
#[derive(Args, Debug)]
#[command(after_help = "\
cloudcore writes its pin to DATA-DIR/addresses.json (caPin) and the first token to DATA-DIR/admin.token.
The token is never given on the command line, where other users could see it.

Examples:
  fleetctl login --cloud https://cloud.example:8443 --token-file admin.token --ca-pin sha256:0123...
  fleetctl login --cloud https://10.0.0.5:8443 --token-stdin --ca-pin sha256:0123... --context plant < admin.token")]
pub(crate) struct LoginArgs {
    /// Address of cloudcore, https://HOST:PORT
    #[arg(long, env = "FLEETCTL_CLOUD", value_name = "URL")]
    cloud: String,
    /// Read the API token from this file
    #[arg(long, value_name = "FILE", conflicts_with = "token_stdin")]
    token_file: Option<PathBuf>,
    /// Read the API token from stdin
    #[arg(long)]
    token_stdin: bool,
    /// Pin of cloudcore's root: sha256:<64 hex digits>
    #[arg(long, env = "FLEETCTL_CA_PIN", value_name = "PIN")]
    ca_pin: String,
}

pub(super) async fn run(
    args: LoginArgs,
    name: Option<&str>,
    environment: &Environment,
) -> anyhow::Result<()> {
    let token = token(&args, environment)?;
    let access = Access {
        cloud: args.cloud,
        ca_pin: args.ca_pin,
        token,
    };
    let client = Client::new(&access)?;
    // Asks for something that only a valid token may see.
    let sites = client.list::<Site>(&Filter::default()).await?;
    let path = environment.path()?;
    let name = name.unwrap_or(DEFAULT_CONTEXT);
    let cloud = access.cloud.clone();
    context::save(&path, name, access)?;
    eprintln!(
        "Logged in to {cloud} ({} sites); saved as context `{name}` in {}",
        sites.len(),
        path.display()
    );
    Ok(())
}

fn token(args: &LoginArgs, environment: &Environment) -> anyhow::Result<ApiToken> {
    let mut text = String::new();
    if let Some(path) = &args.token_file {
        let file = std::fs::File::open(path);
        let read = file.and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
        read.with_context(|| format!("cannot read the token from {}", path.display()))?;
    } else if args.token_stdin {
        let read = std::io::stdin()
            .take(TOKEN_BYTES_MAX)
            .read_to_string(&mut text);
        read.context("cannot read the token from stdin")?;
    } else if let Some(token) = &environment.token {
        return Ok(token.clone());
    } else {
        bail!("give the token with --token-file FILE, --token-stdin or FLEETCTL_TOKEN");
    }
    if text.trim().is_empty() || text.trim().contains(char::is_whitespace) {
        bail!("what was read is not one token");
    }
    Ok(ApiToken::new(&text))
}
