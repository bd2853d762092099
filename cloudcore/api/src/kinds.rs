//! The kinds: `Site`, `Node`, `JoinToken`, `Model`, `ModelVersion`, `ModelDeployment`,
//! `Rollout`, `Pipeline`.
//!
//! Each file has a kind with its spec, its status, and the types only they use.

mod deployment;
mod join_token;
mod model;
mod node;
mod pipeline;
mod rollout;
mod site;

pub use deployment::*;
pub use join_token::*;
pub use model::*;
pub use node::*;
pub use pipeline::*;
pub use rollout::*;
pub use site::*;

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $plural:literal, $spec:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
        pub struct $name;

        impl $crate::Kind for $name {
            const KIND: &'static str = stringify!($name);
            const PLURAL: &'static str = $plural;
            type Spec = $spec;
            type Status = $status;
        }
    };
}

pub(crate) use kind;
