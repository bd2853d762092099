//! Checks a bundle against a file list and the trusted keys.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millwright_proto::Digest;
use millwright_proto::digest::Hasher;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use thiserror::Error;

use super::bundle::{
    BUNDLE_BYTES_MAX, Bundle, HASH_TYPE, MEDIA_TYPE, METHOD, PAYLOAD_TYPE, PREDICATE_TYPE,
    Resource, STATEMENT_TYPE, Statement, pre_authentication_encoding,
};
use super::keys::{KeyHint, TrustKeys};
use crate::{FILE_COUNT_MAX, FileList};

/// Why a package is not to be run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// Over [`BUNDLE_BYTES_MAX`].
    #[error("signature bundle of {0} bytes is over the limit of {BUNDLE_BYTES_MAX}")]
    TooLong(usize),
    /// Not JSON of the expected form, or not base64 where it should be.
    #[error("signature bundle cannot be read: {0}")]
    Malformed(String),
    /// Another format, or another version of it.
    #[error("signature bundle has {what} `{found}`; expected `{expected}`")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value, shortened.
        found: String,
        /// The value it should have.
        expected: &'static str,
    },
    /// There is no key to verify with.
    #[error("no trust key is configured: enroll the node with --trust-key FILE")]
    NoTrustKeys,
    /// The signer is not trusted here.
    #[error(
        "package is signed by key {hint}, which is not trusted here: trusted keys are {trusted:?}"
    )]
    UntrustedKey {
        /// What the bundle says of its signer.
        hint: KeyHint,
        /// Hints of the trusted keys.
        trusted: Vec<KeyHint>,
    },
    /// The signature does not fit the payload and the key.
    #[error("signature does not verify: the bundle was altered, or another key signed it")]
    BadSignature,
    /// A signed digest does not add up.
    #[error(
        "signed statement contradicts itself: its subject is {subject}, its resources hash to {resources}"
    )]
    Inconsistent {
        /// The digest in the subject.
        subject: String,
        /// The digest of the resources.
        resources: Digest,
    },
    /// A file of the package was not signed.
    #[error("`{0}` is in the package but was not signed")]
    Unsigned(String),
    /// A signed file is not in the package.
    #[error("`{0}` was signed but is not in the package")]
    Missing(String),
    /// A file differs from the signed one.
    #[error("`{path}` has digest {found}; {signed} was signed")]
    Altered {
        /// The file.
        path: String,
        /// Its digest in the list.
        found: Digest,
        /// Its signed digest.
        signed: Digest,
    },
}

/// Checks that one of `keys` signed exactly the paths and digests of `files`, and says which.
///
/// What the package contains is bound by this; which model version it is, its (signed) manifest
/// says: compare that with what was asked for.
///
/// # Errors
/// A [`VerifyError`] that names the first thing found wrong.
pub fn verify(bundle: &str, files: &FileList, keys: &TrustKeys) -> Result<KeyHint, VerifyError> {
    let sealed = Sealed::read(bundle)?;
    let signer = sealed.signer(keys)?;
    sealed.compare(files)?;
    Ok(signer)
}

/// Checks that a bundle speaks of exactly `files`, and returns whom it names as its signer.
///
/// This proves nothing about who signed: it tells somebody without trust keys that a signature
/// was made before the last change. To decide whether a package may run, call [`verify`].
///
/// # Errors
/// When the bundle cannot be read, or speaks of other files.
pub fn claimed_signer(bundle: &str, files: &FileList) -> Result<Option<KeyHint>, VerifyError> {
    let sealed = Sealed::read(bundle)?;
    sealed.compare(files)?;
    Ok(sealed.hint)
}

/// Whom a bundle names as its signer, for people to read; proves nothing.
///
/// # Errors
/// When the bundle cannot be read.
pub fn signer_hint(bundle: &str) -> Result<Option<KeyHint>, VerifyError> {
    Ok(Sealed::read(bundle)?.hint)
}

/// A bundle whose outer form was checked, and nothing else.
struct Sealed {
    hint: Option<KeyHint>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Sealed {
    fn read(bundle: &str) -> Result<Self, VerifyError> {
        if bundle.len() > BUNDLE_BYTES_MAX {
            return Err(VerifyError::TooLong(bundle.len()));
        }
        let bundle: Bundle = serde_json::from_str(bundle).map_err(|error| malformed(&error))?;
        expect("mediaType", &bundle.media_type, MEDIA_TYPE)?;
        let envelope = bundle.dsse_envelope;
        expect("payloadType", &envelope.payload_type, PAYLOAD_TYPE)?;
        let identifier = bundle.verification_material.public_key;
        let identifier = identifier.ok_or_else(|| VerifyError::Unsupported {
            what: "verificationMaterial",
            found: "no publicKey".to_owned(),
            expected: "publicKey",
        })?;
        let hint = match identifier.hint.as_deref() {
            None | Some("") => None,
            Some(text) => Some(KeyHint::from_hex(text).ok_or_else(|| {
                VerifyError::Malformed("the hint is not a SHA-256 in hex".to_owned())
            })?),
        };
        let [signature] = envelope.signatures.as_slice() else {
            let problem = format!(
                "it has {} signatures instead of one",
                envelope.signatures.len()
            );
            return Err(VerifyError::Malformed(problem));
        };
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| malformed(&error));
        Ok(Self {
            hint,
            payload: decode(&envelope.payload)?,
            signature: decode(&signature.sig)?,
        })
    }

    /// Which of `keys` signed the payload.
    fn signer(&self, keys: &TrustKeys) -> Result<KeyHint, VerifyError> {
        if keys.is_empty() {
            return Err(VerifyError::NoTrustKeys);
        }
        let message = pre_authentication_encoding(&self.payload);
        let mut refusal = match self.hint {
            Some(hint) => VerifyError::UntrustedKey {
                hint,
                trusted: keys.hints().collect(),
            },
            None => VerifyError::BadSignature,
        };
        for (key, point) in keys.candidates(self.hint) {
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
            match public.verify(&message, &self.signature) {
                Ok(()) => return Ok(key),
                Err(_) => refusal = VerifyError::BadSignature,
            }
        }
        Err(refusal)
    }

    /// Whether the payload speaks of exactly `files`.
    fn compare(&self, files: &FileList) -> Result<(), VerifyError> {
        let statement: Statement =
            serde_json::from_slice(&self.payload).map_err(|error| malformed(&error))?;
        compare(&signed_digests(&statement)?, files)
    }
}

/// Checks the statement's form and returns the signed digest of every path.
fn signed_digests(statement: &Statement) -> Result<BTreeMap<&str, Digest>, VerifyError> {
    expect("_type", &statement.statement_type, STATEMENT_TYPE)?;
    expect("predicateType", &statement.predicate_type, PREDICATE_TYPE)?;
    let serialization = &statement.predicate.serialization;
    expect("serialization.method", &serialization.method, METHOD)?;
    expect(
        "serialization.hash_type",
        &serialization.hash_type,
        HASH_TYPE,
    )?;
    let [subject] = statement.subject.as_slice() else {
        let problem = format!("it has {} subjects instead of one", statement.subject.len());
        return Err(VerifyError::Malformed(problem));
    };
    let resources = &statement.predicate.resources;
    if resources.len() > FILE_COUNT_MAX {
        let problem = format!(
            "it lists {} files; at most {FILE_COUNT_MAX}",
            resources.len()
        );
        return Err(VerifyError::Malformed(problem));
    }
    let mut root = Hasher::default();
    let mut signed = BTreeMap::new();
    for Resource {
        name,
        algorithm,
        digest,
    } in resources
    {
        expect("algorithm", algorithm, HASH_TYPE)?;
        let digest: Digest = format!("sha256:{digest}")
            .parse()
            .map_err(|error| malformed(&error))?;
        root.update(digest.as_bytes());
        if signed.insert(name.as_str(), digest).is_some() {
            return Err(VerifyError::Malformed(format!(
                "it lists `{}` twice",
                shortened(name)
            )));
        }
    }
    let resources = root.finish();
    if subject.digest.sha256 == resources.to_hex() {
        Ok(signed)
    } else {
        Err(VerifyError::Inconsistent {
            subject: shortened(&subject.digest.sha256),
            resources,
        })
    }
}

fn compare(signed: &BTreeMap<&str, Digest>, files: &FileList) -> Result<(), VerifyError> {
    for entry in files.entries() {
        match signed.get(entry.path.as_str()) {
            None => return Err(VerifyError::Unsigned(entry.path.to_string())),
            Some(&signed) if signed != entry.digest => {
                return Err(VerifyError::Altered {
                    path: entry.path.to_string(),
                    found: entry.digest,
                    signed,
                });
            }
            Some(_) => {}
        }
    }
    let listed = |name: &str| name.parse().is_ok_and(|path| files.get(&path).is_some());
    match signed.keys().find(|name| !listed(name)) {
        Some(name) => Err(VerifyError::Missing(shortened(name))),
        None => Ok(()),
    }
}

fn malformed(error: &dyn std::error::Error) -> VerifyError {
    VerifyError::Malformed(error.to_string())
}

fn shortened(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

fn expect(what: &'static str, found: &str, expected: &'static str) -> Result<(), VerifyError> {
    if found == expected {
        Ok(())
    } else {
        Err(VerifyError::Unsupported {
            what,
            found: shortened(found),
            expected,
        })
    }
}
