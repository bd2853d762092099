//! Models and their versions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind;

kind!(/// A model, whatever its version.
    Model, "models", ModelSpec, ModelStatus);
kind!(/// One immutable signed version; `metadata.name` is `<model>@<version>`.
    ModelVersion, "modelversions", ModelVersionSpec, ModelVersionStatus);

/// What a model is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSpec {
    /// What it does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is known of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// How many versions were pushed.
    #[serde(default)]
    pub versions: u32,
}

/// A signed package: every file was uploaded as a blob before this is created. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelVersionSpec {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The package's files, ordered by path; `model.yaml` is one of them.
    pub files: Vec<PackageFile>,
    /// The signature bundle (Sigstore JSON) as text, exactly as signed.
    pub bundle: String,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageFile {
    /// Relative, with `/` between parts.
    pub path: String,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// What cloudcore read out of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelVersionStatus {
    /// From the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX licence of the model, from the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// All files together, in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// Hint of the key that signed it.
    #[serde(default)]
    pub signed_by: String,
}
