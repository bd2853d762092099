//! Public keys: which ones are trusted, and how a bundle refers to one.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millwright_proto::Digest;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

/// Most trusted keys: a team with yearly rotation and an emergency key holds fewer than ten.
pub const TRUST_KEY_COUNT_MAX: usize = 64;

/// DER before the point of a P-256 `SubjectPublicKeyInfo` (RFC 5480): id-ecPublicKey, prime256v1,
/// a bit string of 65 bytes that starts as an uncompressed point.
const P256_SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Length of an uncompressed P-256 point.
const P256_POINT_BYTES: usize = 65;

/// Characters per line in PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// Why a key was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// The text has no such PEM block, or it is damaged.
    #[error("{origin} is not a PEM file with a `{expected}` block")]
    Pem {
        /// Where the text came from.
        origin: String,
        /// The block that was looked for.
        expected: &'static str,
    },
    /// Another kind of key.
    #[error("{origin} is not an ECDSA P-256 key: make one with `fleetctl model keygen`")]
    Algorithm {
        /// Where the text came from.
        origin: String,
    },
    /// The private key is in OpenSSL's older form.
    #[error(
        "{origin} is in SEC1 form: convert it with `openssl pkcs8 -topk8 -nocrypt -in {origin}`"
    )]
    Sec1 {
        /// Where the text came from.
        origin: String,
    },
    /// Over [`TRUST_KEY_COUNT_MAX`].
    #[error("{0} trust keys given; at most {TRUST_KEY_COUNT_MAX} are allowed")]
    TooMany(usize),
    /// The random number generator of the system failed.
    #[error("making a signing key failed: the system gave no random bytes")]
    Random,
}

/// How a bundle names its signer: SHA-256 of the public key's PEM text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHint(Digest);

impl KeyHint {
    /// The hint of a public key given as its 65-byte point.
    pub(super) fn of_point(point: &[u8]) -> Self {
        Self(Digest::of(public_pem(point).as_bytes()))
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        format!("sha256:{text}").parse().ok().map(Self)
    }
}

impl fmt::Display for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The public keys whose signatures are accepted.
#[derive(Clone, Debug, Default)]
pub struct TrustKeys(BTreeMap<KeyHint, Vec<u8>>);

impl TrustKeys {
    /// Reads PEM texts of public keys, each given as (origin, text); a text may hold several keys.
    ///
    /// # Errors
    /// When a text holds no public key, one that is not P-256, or there are too many.
    pub fn from_pems<'a>(
        pems: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, KeyError> {
        let mut keys = BTreeMap::new();
        for (origin, text) in pems {
            for point in public_points(origin, text)? {
                keys.insert(KeyHint::of_point(&point), point);
            }
            if keys.len() > TRUST_KEY_COUNT_MAX {
                return Err(KeyError::TooMany(keys.len()));
            }
        }
        Ok(Self(keys))
    }

    /// Whether no key is trusted, so that nothing verifies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hints of all keys.
    pub fn hints(&self) -> impl Iterator<Item = KeyHint> + '_ {
        self.0.keys().copied()
    }

    /// The keys a bundle with this hint may be signed by.
    pub(super) fn candidates(
        &self,
        hint: Option<KeyHint>,
    ) -> impl Iterator<Item = (KeyHint, &[u8])> + '_ {
        self.0
            .iter()
            .filter(move |(key, _)| hint.is_none_or(|hint| hint == **key))
            .map(|(key, point)| (*key, point.as_slice()))
    }
}

fn public_points(origin: &str, text: &str) -> Result<Vec<Vec<u8>>, KeyError> {
    let refused = || KeyError::Pem {
        origin: origin.to_owned(),
        expected: "PUBLIC KEY",
    };
    let mut points = Vec::new();
    for spki in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
        let spki = spki.map_err(|_| refused())?;
        if spki.len() != P256_SPKI_PREFIX.len() - 1 + P256_POINT_BYTES
            || !spki.starts_with(&P256_SPKI_PREFIX)
        {
            return Err(KeyError::Algorithm {
                origin: origin.to_owned(),
            });
        }
        points.push(spki[P256_SPKI_PREFIX.len() - 1..].to_vec());
    }
    if points.is_empty() {
        Err(refused())
    } else {
        Ok(points)
    }
}

/// The PEM text of a P-256 public key, byte for byte what OpenSSL and `cryptography` write.
pub(super) fn public_pem(point: &[u8]) -> String {
    let prefix = &P256_SPKI_PREFIX[..P256_SPKI_PREFIX.len() - 1];
    pem("PUBLIC KEY", &[prefix, point].concat())
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(PEM_LINE) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
