//! Who a node is, as its certificate says it.

use std::fmt;
use std::str::FromStr;

use millwright_proto::ids::{IdError, NodeName, NodeUid, SiteName, TenantName};
use thiserror::Error;
use x509_parser::extensions::GeneralName;

use crate::certificate::{self, CertificateError};

/// Longest trust domain, in characters (SPIFFE-ID specification, section 2.1).
const TRUST_DOMAIN_LENGTH_MAX: usize = 255;

/// Longest SPIFFE id, in bytes (SPIFFE-ID specification, section 2.3).
const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// The fleet as a SPIFFE trust domain: a-z, 0-9, `.`, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

/// One node of one fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIdentity {
    /// The fleet.
    pub fleet: TrustDomain,
    /// Who owns it.
    pub tenant: TenantName,
    /// The factory it stands in.
    pub site: SiteName,
    /// Its name, unique within the tenant.
    pub node: NodeName,
    /// Its immutable identity.
    pub uid: NodeUid,
}

/// Why text or a certificate names no node.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// The fleet's name is not a trust domain.
    #[error(
        "fleet name of {length} characters is not a SPIFFE trust domain: use 1 to 255 of a-z, 0-9, `.`, `-` and `_`"
    )]
    TrustDomain {
        /// Length of the text.
        length: usize,
    },
    /// The URI has another form.
    #[error("`{0}` is not of the form spiffe://<fleet>/tenant/<t>/site/<s>/node/<n>")]
    Uri(String),
    /// One of the names in it is not a name, or the uid is not one.
    #[error("cannot read a node identity")]
    Name(#[from] IdError),
    /// The bytes are not a certificate.
    #[error("cannot read a node certificate")]
    Certificate(#[from] CertificateError),
    /// The certificate has other alternative names than exactly one URI.
    #[error(
        "node certificate has {uris} URI and {others} other alternative names; expected 1 and 0"
    )]
    AlternativeNames {
        /// URIs found.
        uris: usize,
        /// Names of other kinds found.
        others: usize,
    },
    /// The certificate has other subject common names than exactly one uid.
    #[error("node certificate has {0} readable common names; expected 1, the node's uid")]
    CommonName(usize),
}

impl TrustDomain {
    /// The trust domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if (1..=TRUST_DOMAIN_LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError::TrustDomain { length: text.len() })
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NodeIdentity {
    /// The URI that stands in the certificate. The uid is not part of it: it is the subject's
    /// common name.
    #[must_use]
    pub fn spiffe_id(&self) -> String {
        format!(
            "spiffe://{}/tenant/{}/site/{}/node/{}",
            self.fleet, self.tenant, self.site, self.node
        )
    }

    /// Reads the URI of a certificate; `uid` is its common name.
    ///
    /// # Errors
    /// When the URI has another form or a name in it is not one.
    pub fn from_spiffe_id(uri: &str, uid: NodeUid) -> Result<Self, IdentityError> {
        let other_form = || IdentityError::Uri(uri.chars().take(120).collect());
        if uri.len() > SPIFFE_ID_BYTES_MAX {
            return Err(other_form());
        }
        let path = uri.strip_prefix("spiffe://").ok_or_else(other_form)?;
        let parts: Vec<&str> = path.split('/').collect();
        let [fleet, "tenant", tenant, "site", site, "node", node] = parts[..] else {
            return Err(other_form());
        };
        Ok(Self {
            fleet: fleet.parse()?,
            tenant: tenant.parse()?,
            site: site.parse()?,
            node: node.parse()?,
            uid,
        })
    }

    /// Reads whom a certificate names. This is no verification: the TLS stack has done that by the
    /// time it hands out the peer's certificate.
    ///
    /// # Errors
    /// When the bytes are no certificate, or one that names anything else than one node.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = certificate::parse(der)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| CertificateError::NotX509(der.len()))?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                // Every other kind is counted and refused.
                _ => None,
            })
            .collect();
        let ([uri], true) = (&uris[..], names.len() == 1) else {
            return Err(IdentityError::AlternativeNames {
                uris: uris.len(),
                others: names.len() - uris.len(),
            });
        };
        let common_names: Vec<&str> = certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .collect();
        let [uid] = common_names[..] else {
            return Err(IdentityError::CommonName(common_names.len()));
        };
        Self::from_spiffe_id(uri, uid.parse()?)
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.spiffe_id(), self.uid)
    }
}

#[cfg(test)]
mod tests;
