//! Root and issuing CAs: made once, opened at every start, the issuing ones replaced by rotation.
//!
//! An issuing CA has generations: `nodes`, `nodes.2`, `nodes.3`. The newest one with certificate and key issues. Those
//! before it are retired: their keys are deleted, and what they issued counts until their own end. The certificate of
//! a generation is written before its key, so a rotation that was cut off has not happened.

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

use super::files::{lock, random, read_if_there, remove};
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
    pub(super) nodes: Issuing,
    pub(super) servers: Issuing,
}

/// An issuing CA with what was before it.
pub(super) struct Issuing {
    pub(super) active: Ca,
    pub(super) generation: u32,
    /// Certificates only, the oldest first.
    pub(super) retired: Vec<CertificateDer<'static>>,
}

/// Generations of an issuing CA that are looked for; a rotation every day for almost three years.
const GENERATIONS_MAX: u32 = 1000;

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
        let _lock = lock(directory)?;
        let root = root(directory, fleet, now)?;
        let nodes = issuing(directory, ISSUING[0], fleet, &root, now)?;
        let servers = issuing(directory, ISSUING[1], fleet, &root, now)?;
        Ok(Self {
            directory: directory.to_owned(),
            root,
            nodes,
            servers,
        })
    }

    /// Replaces both issuing CAs. What the ones before issued counts until it ends; new certificates are of the
    /// new ones.
    ///
    /// # Errors
    /// When a file cannot be read or written; each of the two is then the old one or the new one.
    pub(crate) fn rotate(&mut self, fleet: &TrustDomain, now: Timestamp) -> Result<(), PkiError> {
        let _lock = lock(&self.directory)?;
        for name in ISSUING {
            let before = issuing(&self.directory, name, fleet, &self.root, now)?;
            let generation = before.generation + 1;
            let paths = CaPaths::new(&self.directory, &stem(name, generation));
            let key = new_key("issuing CA's key")?;
            sign_issuing(&paths, key, name, generation, (fleet, &self.root), now)?;
        }
        self.nodes = issuing(&self.directory, ISSUING[0], fleet, &self.root, now)?;
        self.servers = issuing(&self.directory, ISSUING[1], fleet, &self.root, now)?;
        Ok(())
    }

    /// Which generations of the issuing CAs of nodes and of servers are active.
    pub(crate) const fn generations(&self) -> (u32, u32) {
        (self.nodes.generation, self.servers.generation)
    }

    /// The CAs whose nodes are let in: the active one, and retired ones that have not ended at `now`.
    pub(crate) fn node_cas(&self, now: Timestamp) -> Vec<CertificateDer<'static>> {
        let retired = self.nodes.retired.iter();
        let good = retired.filter(|certificate| expires(certificate) > now);
        std::iter::once(&self.nodes.active.certificate)
            .chain(good)
            .cloned()
            .collect()
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
    for name in ISSUING {
        let issuing = |generation| CaPaths::new(directory, &stem(name, generation));
        if issuing(1).key.exists() || issuing(2).certificate.exists() {
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

/// The issuing CAs, by the name of their first generation's files.
const ISSUING: [&str; 2] = ["nodes", "servers"];

fn stem(name: &str, generation: u32) -> String {
    match generation {
        1 => name.to_owned(),
        generation => format!("{name}.{generation}"),
    }
}

/// Opens the newest generation, making the first one where there is none and signing it anew, with the same key, in
/// its last year.
fn issuing(
    directory: &Path,
    name: &'static str,
    fleet: &TrustDomain,
    root: &Ca,
    now: Timestamp,
) -> Result<Issuing, PkiError> {
    let mut newest = None;
    let mut before = Vec::new();
    for generation in 1..=GENERATIONS_MAX {
        let paths = CaPaths::new(directory, &stem(name, generation));
        if let Some(ca) = paths.open()? {
            newest = Some((ca, generation, before.clone()));
        }
        match paths.read_certificate()? {
            Some(certificate) => before.push(certificate),
            None => break,
        }
    }
    let paths = |generation| CaPaths::new(directory, &stem(name, generation));
    let (active, generation, retired) = match newest {
        Some((ca, generation, retired)) => {
            let lasts = expires(&ca.certificate) > after(now, ISSUING_RENEWED_BEFORE);
            let active = if lasts {
                ca
            } else {
                let key = ca.issuer.key().serialized_der();
                let key = KeyPair::try_from(key).map_err(made("issuing CA's key"))?;
                sign_issuing(
                    &paths(generation),
                    key,
                    name,
                    generation,
                    (fleet, root),
                    now,
                )?
            };
            (active, generation, retired)
        }
        // More than one without any key: not a first start that was cut off.
        None if before.len() > 1 => return Err(PkiError::Missing { path: paths(1).key }),
        None => {
            let key = new_key("issuing CA's key")?;
            let made = sign_issuing(&paths(1), key, name, 1, (fleet, root), now)?;
            (made, 1, Vec::new())
        }
    };
    for generation in 1..generation {
        // Left by a rotation that was cut off after the new key was there.
        let old = paths(generation).key;
        if old.exists() {
            remove(&old)?;
        }
    }
    Ok(Issuing {
        active,
        generation,
        retired,
    })
}

/// Makes and stores the certificate of an issuing CA.
fn sign_issuing(
    paths: &CaPaths,
    key: KeyPair,
    name: &str,
    generation: u32,
    (fleet, root): (&TrustDomain, &Ca),
    now: Timestamp,
) -> Result<Ca, PkiError> {
    let called = match generation {
        1 => name.to_owned(),
        generation => format!("{name} {generation}"),
    };
    let mut params = ca_params(&called, fleet, BasicConstraints::Constrained(0))?;
    set_validity(&mut params, now, ISSUING_LIFETIME);
    let certificate = params
        .signed_by(&key, &root.issuer)
        .map_err(made("issuing CA's certificate"))?;
    paths.write(&key, &certificate)?;
    paths.ca(certificate.der().clone(), key)
}

fn made(what: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Make { what, source }
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
    // Certificates know whole seconds.
    let end = after(now, lifetime);
    let end = Timestamp::from_second(end.as_second()).unwrap_or(end);
    // A certificate that lives for minutes (in tests) must not have its renewal behind it when it is made.
    let skew = CLOCK_SKEW.min(lifetime / 10);
    let begin = now.checked_sub(skew).unwrap_or(Timestamp::MIN);
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

    /// The certificate alone, as of a retired CA; `None` when there is none.
    fn read_certificate(&self) -> Result<Option<CertificateDer<'static>>, PkiError> {
        let Some(pem) = read_if_there(&self.certificate)? else {
            return Ok(None);
        };
        let certificate = CertificateDer::from_pem_slice(&pem);
        certificate.map(Some).map_err(|_| PkiError::Damaged {
            path: self.certificate.clone(),
            expected: "a certificate in PEM",
        })
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
