//! What lets devices in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind;

kind!(/// Lets devices enroll at one site for a short time.
    JoinToken, "jointokens", JoinTokenSpec, JoinTokenStatus);

/// Whom a join token lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinTokenSpec {
    /// Devices are enrolled at this site.
    pub site: String,
    /// How many devices may use it; 1 when left out.
    #[serde(default = "one_use")]
    pub uses: u32,
    /// Seconds it is good for; 600 when left out, at most 604800 (a week).
    #[serde(default = "ten_minutes")]
    pub ttl_seconds: u32,
}

fn one_use() -> u32 {
    1
}

fn ten_minutes() -> u32 {
    600
}

/// What is left of a join token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenStatus {
    /// The token itself, only in the answer to its creation; kept hashed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Devices that may still use it.
    #[serde(default)]
    pub uses_left: u32,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether somebody ended it early.
    #[serde(default)]
    pub revoked: bool,
}
