//! A factory.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind;

kind!(/// A factory.
    Site, "sites", SiteSpec, SiteStatus);

/// What a site is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteSpec {
    /// For people, for example `Plant Leipzig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// IANA time zone, for example `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Power-grid zone, for example `DE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_zone: Option<String>,
}

/// How a site is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// Nodes enrolled at this site.
    #[serde(default)]
    pub nodes: u32,
    /// Of those, with a live session.
    #[serde(default)]
    pub connected: u32,
}
