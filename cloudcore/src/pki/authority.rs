//! Root and issuing CAs: made once, opened at every start.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use millwright_identity::{RootPin, TrustDomain};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::files::{random, read_if_there};
use super::{PkiError, write_private};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Agents in the field pin the root; it outlives them.
const ROOT_LIFETIME: Duration = DAY.saturating_mul(25 * 365);

/// An issuing CA is signed anew, with the same key, at a start in its last year.
const ISSUING_LIFETIME: Duration = DAY.saturating_mul(10 * 365);
const ISSUING_RENEWED_BEFORE: Duration = DAY.saturating_mul(365);

/// Certificates are good from a little before they are made, for devices whose clock is behind.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// One CA: its certificate and what signs with it.
pub(super) struct Ca {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

/// The fleet's CAs. Keys stay inside.
pub(crate) struct Authority {
    pub(super) directory: PathBuf,
    root: Ca,
    pub(super) nodes: Ca,
    pub(super) servers: Ca,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority in `directory`, making it when the directory holds none.
    ///
    /// # Errors
    /// When a file is damaged, missing beside the others, or cannot be written.
    pub(crate) fn open(
        directory: &Path,
        fleet: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        std::fs::create_dir_all(directory).map_err(|source| PkiError::Write {
            path: directory.to_owned(),
            source,
        })?;
        let root = root(directory, fleet, now)?;
        let nodes = issuing(directory, "nodes", fleet, &root, now)?;
        let servers = issuing(directory, "servers", fleet, &root, now)?;
        Ok(Self {
            directory: directory.to_owned(),
            root,
            nodes,
            servers,
        })
    }

    /// The root certificate.
    pub(crate) fn root(&self) -> &CertificateDer<'static> {
        &self.root.certificate
    }

    /// What agents and people pin: the hash of the root's SubjectPublicKeyInfo.
    pub(crate) fn pin(&self) -> RootPin {
        RootPin::of_certificate(&self.root.certificate)
            .expect("the root was parsed when the authority was opened")
    }
}

fn root(directory: &Path, fleet: &TrustDomain, now: Timestamp) -> Result<Ca, PkiError> {
    let paths = CaPaths::new(directory, "root");
    if let Some(ca) = paths.open()? {
        return Ok(ca);
    }
    for issuing in ["nodes", "servers"] {
        if CaPaths::new(directory, issuing).key.exists() {
            return Err(PkiError::Missing { path: paths.key });
        }
    }
    let key = new_key("root key")?;
    let mut params = ca_params("root", fleet, BasicConstraints::Constrained(1))?;
    set_validity(&mut params, now, ROOT_LIFETIME);
    let certificate = params.self_signed(&key).map_err(|source| PkiError::Make {
        what: "root certificate",
        source,
    })?;
    paths.write(&key, &certificate)?;
    paths.ca(certificate.der().clone(), key)
}

fn issuing(
    directory: &Path,
    name: &'static str,
    fleet: &TrustDomain,
    root: &Ca,
    now: Timestamp,
) -> Result<Ca, PkiError> {
    let paths = CaPaths::new(directory, name);
    let key = match paths.open()? {
        Some(ca) if expires(&ca.certificate) > after(now, ISSUING_RENEWED_BEFORE) => {
            return Ok(ca);
        }
        Some(ca) => KeyPair::try_from(ca.issuer.key().serialized_der()).map_err(|source| {
            PkiError::Make {
                what: "issuing CA's key",
                source,
            }
        })?,
        None => new_key("issuing CA's key")?,
    };
    let mut params = ca_params(name, fleet, BasicConstraints::Constrained(0))?;
    set_validity(&mut params, now, ISSUING_LIFETIME);
    let certificate = params
        .signed_by(&key, &root.issuer)
        .map_err(|source| PkiError::Make {
            what: "issuing CA's certificate",
            source,
        })?;
    paths.write(&key, &certificate)?;
    paths.ca(certificate.der().clone(), key)
}

fn ca_params(
    name: &str,
    fleet: &TrustDomain,
    constraint: BasicConstraints,
) -> Result<CertificateParams, PkiError> {
    let mut params = blank_params(&format!("Millwright {name} CA"))?;
    params
        .distinguished_name
        .push(DnType::OrganizationName, fleet.as_str());
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Parameters with a common name and a random serial number, and nothing else.
pub(super) fn blank_params(common_name: &str) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from(random::<16>()?.to_vec()));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Good from a little before `now` until `lifetime` after it; returns the end.
pub(super) fn set_validity(
    params: &mut CertificateParams,
    now: Timestamp,
    lifetime: Duration,
) -> Timestamp {
    let end = after(now, lifetime);
    let begin = now.checked_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
    params.not_before = SystemTime::from(begin).into();
    params.not_after = SystemTime::from(end).into();
    end
}

/// `duration` after `time`, or the end of time.
pub(super) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

pub(super) fn new_key(what: &'static str) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|source| PkiError::Make { what, source })
}

/// When a certificate made here ends.
pub(super) fn expires(certificate: &CertificateDer<'_>) -> Timestamp {
    x509_parser::parse_x509_certificate(certificate)
        .ok()
        .and_then(|(_, x509)| Timestamp::from_second(x509.validity().not_after.timestamp()).ok())
        .unwrap_or(Timestamp::MIN)
}

/// The two files of a CA or a server certificate.
pub(super) struct CaPaths {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
}

impl CaPaths {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        Self {
            key: directory.join(format!("{name}.key.pem")),
            certificate: directory.join(format!("{name}.crt.pem")),
        }
    }

    fn open(&self) -> Result<Option<Ca>, PkiError> {
        let Some((key, certificate)) = self.read()? else {
            return Ok(None);
        };
        self.ca(certificate, key).map(Some)
    }

    /// Key and certificate; `None` when neither is there.
    pub(super) fn read(&self) -> Result<Option<(KeyPair, CertificateDer<'static>)>, PkiError> {
        let (key, certificate) =
            match (read_if_there(&self.key)?, read_if_there(&self.certificate)?) {
                (Some(key), Some(certificate)) => (key, certificate),
                (None, None) => return Ok(None),
                // The key is written last, so a certificate alone is a first start that was cut off.
                (None, Some(_)) => return Ok(None),
                (Some(_), None) => {
                    return Err(PkiError::Missing {
                        path: self.certificate.clone(),
                    });
                }
            };
        let key = std::str::from_utf8(&key)
            .ok()
            .and_then(|text| KeyPair::from_pem(text).ok())
            .ok_or_else(|| PkiError::Damaged {
                path: self.key.clone(),
                expected: "a private key in PEM",
            })?;
        let certificate =
            CertificateDer::from_pem_slice(&certificate).map_err(|_| PkiError::Damaged {
                path: self.certificate.clone(),
                expected: "a certificate in PEM",
            })?;
        Ok(Some((key, certificate)))
    }

    pub(super) fn write(&self, key: &KeyPair, certificate: &Certificate) -> Result<(), PkiError> {
        write_private(&self.certificate, certificate.pem().as_bytes())?;
        write_private(&self.key, key.serialize_pem().as_bytes())
    }

    fn ca(&self, certificate: CertificateDer<'static>, key: KeyPair) -> Result<Ca, PkiError> {
        let damaged = || PkiError::Damaged {
            path: self.certificate.clone(),
            expected: "the certificate of a CA",
        };
        x509_parser::parse_x509_certificate(&certificate).map_err(|_| damaged())?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| damaged())?;
        Ok(Ca {
            certificate,
            issuer,
        })
    }
}
