//! The certificates of the authority, as people and scripts see them.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::Serialize;

use super::authority::CaPaths;
use super::{Authority, PkiError};

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateRow {
    /// `root`, `nodes` and `servers` are CAs; `server` is the certificate of this server.
    pub(crate) role: &'static str,
    /// Distinguished name.
    pub(crate) subject: String,
    /// Serial number in hex.
    pub(crate) serial: String,
    /// When it began.
    pub(crate) begins: Timestamp,
    /// When it ends.
    pub(crate) ends: Timestamp,
    /// Whether it is used.
    pub(crate) state: State,
}

/// Whether a certificate is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Signs, or is shown.
    Active,
    /// Signs no more; what it issued counts until this one or its own ends.
    Retired,
    /// Counts for nothing.
    Ended,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Ended => "ended",
        })
    }
}

impl Authority {
    /// Every certificate there is, the root first; retired CAs before the active ones.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn certificates(&self, now: Timestamp) -> Result<Vec<CertificateRow>, PkiError> {
        let mut rows = vec![row("root", self.root(), State::Active, now)?];
        for (role, issuing) in [("nodes", &self.nodes), ("servers", &self.servers)] {
            for retired in &issuing.retired {
                rows.push(row(role, retired, State::Retired, now)?);
            }
            let active = &issuing.active.certificate;
            rows.push(row(role, active, State::Active, now)?);
        }
        if let Some((_, leaf)) = CaPaths::new(&self.directory, "server").read()? {
            rows.push(row("server", &leaf, State::Active, now)?);
        }
        Ok(rows)
    }
}

fn row(
    role: &'static str,
    certificate: &CertificateDer<'_>,
    state: State,
    now: Timestamp,
) -> Result<CertificateRow, PkiError> {
    let unreadable = || PkiError::Unreadable { role };
    let (_, x509) = x509_parser::parse_x509_certificate(certificate).map_err(|_| unreadable())?;
    let time = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|_| unreadable())
    };
    let ends = time(x509.validity().not_after)?;
    Ok(CertificateRow {
        role,
        subject: x509.subject().to_string(),
        serial: hex::encode(x509.raw_serial()),
        begins: time(x509.validity().not_before)?,
        ends,
        state: if ends <= now { State::Ended } else { state },
    })
}
