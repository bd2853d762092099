//! The JSON of a bundle and of the statement inside it.

use serde::{Deserialize, Serialize};

/// Largest bundle, in bytes. 256 files with the longest paths need about 200 KiB; ten files 4 KiB.
pub const BUNDLE_BYTES_MAX: usize = 256 * 1024;

pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub(super) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
pub(super) const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
pub(super) const METHOD: &str = "files";
pub(super) const HASH_TYPE: &str = "sha256";

/// Unknown fields are tolerated throughout, as the formats ask for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bundle {
    pub(super) media_type: String,
    pub(super) verification_material: VerificationMaterial,
    pub(super) dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerificationMaterial {
    /// Absent when the signer used a certificate, which is not accepted here.
    #[serde(default)]
    pub(super) public_key: Option<PublicKeyIdentifier>,
    /// Written as an empty list because `model-signing` asks for it; not read, since a key needs no
    /// transparency log.
    #[serde(skip_deserializing)]
    pub(super) tlog_entries: [(); 0],
}

#[derive(Serialize, Deserialize)]
pub(super) struct PublicKeyIdentifier {
    /// Absent in bundles of early versions of `model-signing`.
    #[serde(default)]
    pub(super) hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    pub(super) payload: String,
    pub(super) payload_type: String,
    pub(super) signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Signature {
    pub(super) sig: String,
    #[serde(default)]
    pub(super) keyid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statement {
    #[serde(rename = "_type")]
    pub(super) statement_type: String,
    pub(super) subject: Vec<Subject>,
    pub(super) predicate_type: String,
    pub(super) predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SubjectDigest {
    pub(super) sha256: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Predicate {
    pub(super) serialization: Serialization,
    pub(super) resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Serialization {
    pub(super) method: String,
    pub(super) hash_type: String,
    #[serde(default)]
    pub(super) allow_symlinks: bool,
    #[serde(default)]
    pub(super) ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) algorithm: String,
    pub(super) digest: String,
}

/// DSSE's pre-authentication encoding: what is really signed.
pub(super) fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}
