//! `cloudcore ca`: look at the certificate authority, and replace its issuing CAs.
//!
//! Works on the data directory, whether a server runs on it or not: a running one takes over what changed within
//! seconds. Rotation is written to the audit trail and the event log of that directory's store.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use fleet_api::Severity;
use jiff::Timestamp;
use millwright_identity::{IdentityError, TrustDomain};
use thiserror::Error;

use crate::app::fresh_identity;
use crate::auth::TENANT;
use crate::pki::show::CertificateRow;
use crate::pki::{Authority, PkiError};
use crate::store::{Actor, AuditEntry, NewEvent, Outcome, Store, StoreError};

/// Who is named in the audit trail.
const ACTOR: &str = "cloudcore ca";

/// `cloudcore ca ...`
#[derive(Subcommand)]
pub(crate) enum CaCommand {
    /// List the certificates of the authority: what they are, until when, and which are used
    Show {
        #[command(flatten)]
        directory: Directory,
        /// How to print
        #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
        output: Format,
    },
    /// Replace the issuing CAs of nodes and servers, also while the directory is served
    ///
    /// Nodes keep their certificates, which count until they end; new ones come from the new CA. A running server takes
    /// the new CAs over within ten seconds. No session is cut.
    Rotate {
        #[command(flatten)]
        directory: Directory,
    },
}

/// Where the authority lies.
#[derive(Args)]
pub(crate) struct Directory {
    /// Data directory of `cloudcore serve`
    #[arg(long, value_name = "DIR", env = "CLOUDCORE_DATA_DIR")]
    data_dir: PathBuf,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table
    #[default]
    Table,
    /// One JSON array
    Json,
}

/// Why it was not done.
#[derive(Debug, Error)]
pub(crate) enum CaError {
    /// No authority there.
    #[error(
        "{0} holds no certificate authority: name the data directory of `cloudcore serve` with --data-dir"
    )]
    NoAuthority(PathBuf),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored fleet id.
    #[error("the store holds a damaged fleet id: restore a backup")]
    Fleet(#[from] IdentityError),
}

/// Runs one; returns what to print.
pub(crate) async fn run(command: CaCommand, now: Timestamp) -> Result<String, CaError> {
    match command {
        CaCommand::Show { directory, output } => {
            let (authority, _, store) = open(&directory.data_dir, now).await?;
            store.close().await;
            let rows = authority.certificates(now)?;
            Ok(match output {
                Format::Table => table(&rows),
                Format::Json => {
                    let json = serde_json::to_string_pretty(&rows);
                    json.expect("texts and times are always JSON") + "\n"
                }
            })
        }
        CaCommand::Rotate { directory } => rotate(&directory.data_dir, now).await,
    }
}

async fn open(data_dir: &Path, now: Timestamp) -> Result<(Authority, TrustDomain, Store), CaError> {
    let pki = data_dir.join("pki");
    if !pki.join("root.crt.pem").exists() {
        return Err(CaError::NoAuthority(data_dir.to_owned()));
    }
    let store = Store::open(data_dir).await?;
    let fleet: TrustDomain = store.identity(fresh_identity()?).await?.fleet.parse()?;
    Ok((Authority::open(&pki, &fleet, now)?, fleet, store))
}

async fn rotate(data_dir: &Path, now: Timestamp) -> Result<String, CaError> {
    let (mut authority, fleet, store) = open(data_dir, now).await?;
    authority.rotate(&fleet, now)?;
    let (nodes, servers) = authority.generations();
    let message = format!(
        "the issuing CAs were replaced: generation {nodes} issues to nodes, {servers} to servers"
    );
    // The files come first: a row about a rotation that has not happened would be a lie, one that is missing after a
    // crash shows in the files.
    let mut write = store.write().await?;
    let actor = Actor {
        tenant: TENANT.to_owned(),
        name: ACTOR.to_owned(),
    };
    let regarding = "CertificateAuthority/issuing";
    let entry = AuditEntry {
        actor: &actor,
        action: "rotate",
        object: regarding,
        outcome: Outcome::Allowed,
        detail: &message,
    };
    write.audit(&entry, now).await?;
    let event = NewEvent {
        tenant: TENANT,
        time: now,
        severity: Severity::Normal,
        reason: "IssuingCaRotated",
        message: &message,
        regarding,
    };
    write.event(&event).await?;
    write.commit().await?;
    store.close().await;
    Ok(format!("{message}\n"))
}

fn table(rows: &[CertificateRow]) -> String {
    let mut text = format!(
        "{:<8} {:<8} {:<20} {:<20} {:<32} SUBJECT\n",
        "ROLE", "STATE", "BEGINS", "ENDS", "SERIAL"
    );
    for row in rows {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "{:<8} {:<8} {:<20} {:<20} {:<32} {}",
            row.role,
            row.state.to_string(),
            row.begins.to_string(),
            row.ends.to_string(),
            row.serial,
            row.subject
        );
    }
    text
}
