//! The certificate of this server, for people and for agents.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use millwright_identity::CertifiedKey;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::authority::{CaPaths, after, blank_params, expires, new_key, set_validity};
use super::{Authority, PkiError};

/// A year. Renewed at its half, so what is served has 180 days left at least; agents count on it
/// (`edge_core::clock::AHEAD_S_MAX`) when they judge by a clock they cannot trust.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Renewed when less than this is left.
const RENEWED_BEFORE: Duration = Duration::from_secs(182 * 24 * 60 * 60);

/// Names every server certificate carries beside the constant internal one.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What the listeners need to speak TLS.
pub(crate) struct ServerIdentity {
    /// Leaf, issuing CA, root: with the root in it a peer can check its pin.
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    /// When the leaf ends.
    pub(crate) expires: Timestamp,
}

impl ServerIdentity {
    /// Whether both are the same certificate.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    /// Chain and key, to make TLS settings from.
    pub(crate) fn certified_key(&self) -> CertifiedKey {
        CertifiedKey {
            chain: self.chain.clone(),
            key: PrivateKeyDer::Pkcs8(self.key.clone_key()),
        }
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// The certificate of this server for `public_names`, renewed when it is near its end, the names have
    /// changed, or another CA issues now.
    ///
    /// # Errors
    /// When a public name is no name, or files cannot be read or written.
    pub(crate) fn server(
        &self,
        public_names: &[String],
        now: Timestamp,
    ) -> Result<ServerIdentity, PkiError> {
        let names = sans(public_names)?;
        let paths = CaPaths::new(&self.directory, "server");
        let kept = paths.read()?.filter(|(_, certificate)| {
            expires(certificate) > after(now, RENEWED_BEFORE)
                && names_of(certificate).as_deref() == Some(&names)
                && self.issued(certificate)
        });
        let (key, leaf) = match kept {
            Some(kept) => kept,
            None => self.new_server_certificate(&paths, names, now)?,
        };
        Ok(ServerIdentity {
            expires: expires(&leaf),
            chain: vec![
                leaf,
                self.servers.active.certificate.clone(),
                self.root().clone(),
            ],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// Whether the active CA of servers issued it. Generations have names of their own.
    fn issued(&self, leaf: &CertificateDer<'_>) -> bool {
        let issuer = &self.servers.active.certificate;
        let (Ok((_, leaf)), Ok((_, issuer))) = (
            x509_parser::parse_x509_certificate(leaf),
            x509_parser::parse_x509_certificate(issuer),
        ) else {
            return false;
        };
        leaf.issuer().as_raw() == issuer.subject().as_raw()
    }

    fn new_server_certificate(
        &self,
        paths: &CaPaths,
        names: Vec<SanType>,
        now: Timestamp,
    ) -> Result<(KeyPair, CertificateDer<'static>), PkiError> {
        let key = new_key("server key")?;
        let mut params = blank_params("cloudcore")?;
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, now, LIFETIME);
        let certificate = params
            .signed_by(&key, &self.servers.active.issuer)
            .map_err(|source| PkiError::Make {
                what: "server certificate",
                source,
            })?;
        paths.write(&key, &certificate)?;
        Ok((key, certificate.der().clone()))
    }
}

fn sans(public_names: &[String]) -> Result<Vec<SanType>, PkiError> {
    let constant = [millwright_identity::SERVER_NAME];
    let mut names: Vec<SanType> = Vec::new();
    let public = public_names.iter().map(String::as_str);
    for name in constant.into_iter().chain(LOCAL_NAMES).chain(public) {
        let name = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().map_err(|source| PkiError::Make {
                what: "server certificate (is every --public-name a host name or an address?)",
                source,
            })?),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The names of a certificate made here, in its order; `None` when it is not one of ours.
fn names_of(certificate: &CertificateDer<'_>) -> Option<Vec<SanType>> {
    use x509_parser::extensions::GeneralName;
    let (_, x509) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = x509.subject_alternative_name().ok()??;
    let names = names.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => Some(SanType::DnsName((*name).try_into().ok()?)),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                16 => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
                _ => return None,
            };
            Some(SanType::IpAddress(address))
        }
        _ => None,
    });
    names.collect()
}
