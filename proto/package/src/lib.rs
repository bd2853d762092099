//! The model package: what is in it, and who signed it.
//!
//! A package is a directory of `model.yaml` (the [`Manifest`]), the ONNX file, golden inputs with
//! expected outputs, a baseline profile of its data ([`profile`]), licences, and `model.sig`. In transit it is a [`FileList`] plus blobs addressed
//! by digest; there is no archive. The signature covers every path and digest of the list.
//!
//! ```text
//! model.yaml ──Manifest::parse──> Manifest ──check_files──┐
//! directory ──digests──> FileList ────────────────────────┴─> what may run
//!                           │   ▲
//!            SigningKey::sign   verify(bundle, list, TrustKeys)
//!                           ▼   │
//!                         model.sig
//! ```
//!
//! Knows no file system, no network and no clock: callers read, hash and store. Everything here
//! takes hostile input: bounded before it is parsed, an error that names what was wrong, no panic.
//! Invariant: a list that differs from the signed one in any path or digest is refused, whatever
//! the bundle says; `signature/tests.rs` asserts it.

mod datatype;
mod files;
mod manifest;
mod path;
pub mod probe;
pub mod profile;
mod provider;
mod signature;

pub use datatype::{Datatype, UnknownDatatype};
pub use files::{FILE_COUNT_MAX, FileEntry, FileList, FileListError, PACKAGE_BYTES_MAX};
pub use manifest::{
    ANSWER_WITHIN, Arena, Batching, Confidence, Dim, Golden, Limits, MANIFEST_BYTES_MAX, Manifest,
    ManifestError, Reduce, STATE_BYTES_MAX, StateSpec, TensorSpec,
};
pub use path::{PATH_BYTES_MAX, PackagePath, PackagePathError};
pub use profile::{Profile, ProfileError};
pub use provider::Provider;
pub use signature::{
    BUNDLE_BYTES_MAX, KeyError, KeyHint, SignError, SigningKey, TRUST_KEY_COUNT_MAX, TrustKeys,
    VerifyError, claimed_signer, signer_hint, verify,
};

/// Name of the manifest inside a package.
pub const MANIFEST_FILE: &str = "model.yaml";

/// Name of the signature beside the files it covers; never part of the signed list.
pub const SIGNATURE_FILE: &str = "model.sig";

/// Names at the top of a package directory that are not part of the package: the signature, and
/// what git leaves there. `model-signing` skips the same ones.
pub const UNSIGNED_NAMES: [&str; 5] = [
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    SIGNATURE_FILE,
];
