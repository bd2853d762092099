//! Signs file lists.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millwright_proto::digest::Hasher;
use millwright_proto::ids::ModelVersion;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

use super::bundle::{
    BUNDLE_BYTES_MAX, Bundle, Envelope, HASH_TYPE, MEDIA_TYPE, METHOD, PAYLOAD_TYPE,
    PREDICATE_TYPE, Predicate, PublicKeyIdentifier, Resource, STATEMENT_TYPE, Serialization,
    Signature, Statement, Subject, SubjectDigest, VerificationMaterial,
    pre_authentication_encoding,
};
use super::keys::{KeyError, KeyHint, pem, public_pem};
use crate::{FileList, UNSIGNED_NAMES};

/// Why a list could not be signed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SignError {
    /// The random number generator of the system failed.
    #[error("signing {0} failed: the system gave no random bytes")]
    Random(ModelVersion),
    /// Nobody would accept the bundle.
    #[error(
        "the signature of {model} would have {bytes} bytes, over the limit of {BUNDLE_BYTES_MAX}: use shorter paths"
    )]
    TooLong {
        /// What was to be signed.
        model: ModelVersion,
        /// Size of the bundle.
        bytes: usize,
    },
}

/// An ECDSA P-256 private key. Never printed.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    pkcs8: PrivatePkcs8KeyDer<'static>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.hint()).finish()
    }
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| KeyError::Random)?;
        Self::from_pkcs8("new key", document.as_ref().to_vec().into())
    }

    /// Reads a PEM text with a PKCS#8 private key; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text holds no unencrypted PKCS#8 key on P-256.
    pub fn from_pem(text: &str, origin: &str) -> Result<Self, KeyError> {
        if text.contains("-----BEGIN EC PRIVATE KEY-----") {
            return Err(KeyError::Sec1 {
                origin: origin.to_owned(),
            });
        }
        let pkcs8 =
            PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::Pem {
                origin: origin.to_owned(),
                expected: "PRIVATE KEY",
            })?;
        Self::from_pkcs8(origin, pkcs8)
    }

    fn from_pkcs8(origin: &str, pkcs8: PrivatePkcs8KeyDer<'static>) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let der = pkcs8.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random)
            .map_err(|_| KeyError::Algorithm {
                origin: origin.to_owned(),
            })?;
        Ok(Self { pair, pkcs8 })
    }

    /// The private key as PEM. Whoever has it can sign; write it with mode 0600.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", self.pkcs8.secret_pkcs8_der())
    }

    /// The public key as PEM, which is what devices are given as a trust key.
    #[must_use]
    pub fn public_pem(&self) -> String {
        public_pem(self.pair.public_key().as_ref())
    }

    /// How bundles name this key.
    #[must_use]
    pub fn hint(&self) -> KeyHint {
        KeyHint::of_point(self.pair.public_key().as_ref())
    }

    /// Signs `files` as `model` and returns the bundle's text, the content of `model.sig`.
    ///
    /// # Errors
    /// When there is no randomness, or the bundle would pass [`BUNDLE_BYTES_MAX`].
    pub fn sign(&self, files: &FileList, model: &ModelVersion) -> Result<String, SignError> {
        let payload = json(&statement(files, model));
        let signature = self
            .pair
            .sign(
                &SystemRandom::new(),
                &pre_authentication_encoding(payload.as_bytes()),
            )
            .map_err(|_| SignError::Random(model.clone()))?;
        let bundle = json(&Bundle {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: VerificationMaterial {
                public_key: Some(PublicKeyIdentifier {
                    hint: Some(self.hint().to_string()),
                }),
                tlog_entries: [],
            },
            dsse_envelope: Envelope {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![Signature {
                    sig: STANDARD.encode(signature),
                    keyid: String::new(),
                }],
            },
        });
        if bundle.len() > BUNDLE_BYTES_MAX {
            return Err(SignError::TooLong {
                model: model.clone(),
                bytes: bundle.len(),
            });
        }
        Ok(bundle)
    }
}

fn statement(files: &FileList, model: &ModelVersion) -> Statement {
    let mut root = Hasher::default();
    let mut resources = Vec::with_capacity(files.entries().len());
    for entry in files.entries() {
        root.update(entry.digest.as_bytes());
        resources.push(Resource {
            name: entry.path.to_string(),
            algorithm: HASH_TYPE.to_owned(),
            digest: entry.digest.to_hex(),
        });
    }
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject {
            name: model.to_string(),
            digest: SubjectDigest {
                sha256: root.finish().to_hex(),
            },
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            serialization: Serialization {
                method: METHOD.to_owned(),
                hash_type: HASH_TYPE.to_owned(),
                allow_symlinks: false,
                ignore_paths: UNSIGNED_NAMES.map(str::to_owned).to_vec(),
            },
            resources,
        },
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("structs of strings and lists always serialise")
}
