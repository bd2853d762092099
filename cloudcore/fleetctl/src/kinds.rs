//! The kinds by the names people type.

use clap::ValueEnum;
use serde::Deserialize;

/// A kind, as an argument (any of its names) or as `kind` of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
pub(crate) enum KindName {
    /// Factories.
    #[value(name = "sites", alias = "site")]
    Site,
    /// Edge devices.
    #[value(name = "nodes", aliases = ["node", "no"])]
    Node,
    /// What lets devices enroll.
    #[value(name = "jointokens", aliases = ["jointoken", "tokens", "token", "jt"])]
    JoinToken,
    /// Models.
    #[value(name = "models", alias = "model")]
    Model,
    /// Signed versions of models.
    #[value(name = "modelversions", aliases = ["modelversion", "versions", "version", "mv"])]
    ModelVersion,
    /// What shall run where.
    #[value(name = "modeldeployments", aliases = ["modeldeployment", "deployments", "deployment", "md"])]
    ModelDeployment,
    /// Changes of deployments under way and done.
    #[value(name = "rollouts", aliases = ["rollout", "ro"])]
    Rollout,
    /// What feeds models from cameras, brokers and files.
    #[value(name = "pipelines", aliases = ["pipeline", "pl"])]
    Pipeline,
}

/// Runs `$body` with `$K` as the type of the kind.
macro_rules! with_kind {
    ($kind:expr, $K:ident, $body:expr) => {
        match $kind {
            $crate::kinds::KindName::Site => {
                type $K = fleet_api::Site;
                $body
            }
            $crate::kinds::KindName::Node => {
                type $K = fleet_api::Node;
                $body
            }
            $crate::kinds::KindName::JoinToken => {
                type $K = fleet_api::JoinToken;
                $body
            }
            $crate::kinds::KindName::Model => {
                type $K = fleet_api::Model;
                $body
            }
            $crate::kinds::KindName::ModelVersion => {
                type $K = fleet_api::ModelVersion;
                $body
            }
            $crate::kinds::KindName::ModelDeployment => {
                type $K = fleet_api::ModelDeployment;
                $body
            }
            $crate::kinds::KindName::Rollout => {
                type $K = fleet_api::Rollout;
                $body
            }
            $crate::kinds::KindName::Pipeline => {
                type $K = fleet_api::Pipeline;
                $body
            }
        }
    };
}
pub(crate) use with_kind;

#[cfg(test)]
mod tests {
    use fleet_api::Kind as _;

    use super::*;

    #[test]
    fn every_kind_is_found_by_plural_singular_and_alias() {
        for kind in KindName::value_variants() {
            let (name, plural) = with_kind!(kind, K, (K::KIND, K::PLURAL));
            assert_eq!(KindName::from_str(plural, true), Ok(*kind));
            assert_eq!(KindName::from_str(name, true), Ok(*kind));
        }
        assert_eq!(
            KindName::from_str("deployment", false),
            Ok(KindName::ModelDeployment)
        );
        assert_eq!(KindName::from_str("mv", false), Ok(KindName::ModelVersion));
    }
}
