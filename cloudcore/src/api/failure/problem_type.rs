//! The kinds of problems the API answers with.

use axum::http::StatusCode;

/// Every problem the API can answer with. The names are stable: clients branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemType {
    /// No token, or one that nobody knows.
    Unauthenticated,
    /// No such object, blob or page.
    NotFound,
    /// Nothing answers at this address.
    UnknownRoute,
    /// The address answers other methods only.
    MethodNotAllowed,
    /// A key of the body or query that nobody knows.
    UnknownField,
    /// A value that does not fit.
    InvalidField,
    /// The body is not what it should be.
    InvalidBody,
    /// More than the limit.
    TooLarge,
    /// The name is taken.
    AlreadyExists,
    /// Somebody else changed the object.
    Conflict,
    /// The object does not change.
    Immutable,
    /// Other objects need it.
    InUse,
    /// The watch cannot resume from there.
    Expired,
    /// Blobs are missing or differ.
    BadPackage,
    /// No such join token.
    TokenUnknown,
    /// The join token's time is over.
    TokenExpired,
    /// The join token has no use left.
    TokenUsedUp,
    /// Somebody ended the join token.
    TokenRevoked,
    /// A node of this name is enrolled.
    NodeNameTaken,
    /// The device did not prove that it holds its keys.
    ProofFailed,
    /// The node was revoked or decommissioned.
    NodeRevoked,
    /// The challenge is no good, or no more.
    ChallengeVoid,
    /// More often than anybody needs.
    TooOften,
    /// Too much at once.
    Overloaded,
    /// The node has no connection now.
    NodeOffline,
    /// The node has one, and does not answer.
    NodeSilent,
    /// The node answers that it does not.
    NodeRefuses,
    /// The agent of the node does not know how.
    AgentTooOld,
    /// Our fault.
    Internal,
}

impl ProblemType {
    /// Stable name; `urn:millwright:problem:` goes before it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::NotFound => "not-found",
            Self::UnknownRoute => "unknown-route",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::UnknownField => "unknown-field",
            Self::InvalidField => "invalid-field",
            Self::InvalidBody => "invalid-body",
            Self::TooLarge => "too-large",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::Immutable => "immutable",
            Self::InUse => "in-use",
            Self::Expired => "expired",
            Self::BadPackage => "bad-package",
            Self::TokenUnknown => "token-unknown",
            Self::TokenExpired => "token-expired",
            Self::TokenUsedUp => "token-used-up",
            Self::TokenRevoked => "token-revoked",
            Self::NodeNameTaken => "node-name-taken",
            Self::ProofFailed => "proof-failed",
            Self::NodeRevoked => "node-revoked",
            Self::ChallengeVoid => "challenge-void",
            Self::TooOften => "too-often",
            Self::Overloaded => "overloaded",
            Self::NodeOffline => "node-offline",
            Self::NodeSilent => "node-silent",
            Self::NodeRefuses => "node-refuses",
            Self::AgentTooOld => "agent-too-old",
            Self::Internal => "internal",
        }
    }

    /// The same for every problem of this type, for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Who are you?",
            Self::NotFound => "There is no such object",
            Self::UnknownRoute => "Nothing answers at this address",
            Self::MethodNotAllowed => "This address does not answer this method",
            Self::UnknownField => "Unknown field",
            Self::InvalidField => "A field has a value that does not fit",
            Self::InvalidBody => "The request cannot be read",
            Self::TooLarge => "The request is over a limit",
            Self::AlreadyExists => "The name is taken",
            Self::Conflict => "Somebody else changed the object",
            Self::Immutable => "This does not change",
            Self::InUse => "Other objects need it",
            Self::Expired => "The watch cannot resume from there",
            Self::BadPackage => "The package is not complete or not consistent",
            Self::TokenUnknown => "No such join token",
            Self::TokenExpired => "The join token is over",
            Self::TokenUsedUp => "The join token has no use left",
            Self::TokenRevoked => "The join token was revoked",
            Self::NodeNameTaken => "A node of this name is enrolled",
            Self::ProofFailed => "The device did not prove that it holds its keys",
            Self::NodeRevoked => "The node was revoked",
            Self::ChallengeVoid => "The challenge is void",
            Self::TooOften => "Too often",
            Self::Overloaded => "Too much at once",
            Self::NodeOffline => "The node is not connected",
            Self::NodeSilent => "The node does not answer",
            Self::NodeRefuses => "The node refuses",
            Self::AgentTooOld => "The agent of the node is too old",
            Self::Internal => "Cloudcore failed",
        }
    }

    /// HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::TokenUnknown => StatusCode::UNAUTHORIZED,
            Self::NotFound | Self::UnknownRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownField | Self::InvalidBody | Self::ProofFailed => StatusCode::BAD_REQUEST,
            Self::InvalidField | Self::BadPackage => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::AlreadyExists
            | Self::Conflict
            | Self::Immutable
            | Self::InUse
            | Self::NodeNameTaken
            | Self::ChallengeVoid => StatusCode::CONFLICT,
            Self::Expired => StatusCode::GONE,
            Self::TokenExpired | Self::TokenUsedUp | Self::TokenRevoked | Self::NodeRevoked => {
                StatusCode::FORBIDDEN
            }
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::NodeOffline => StatusCode::SERVICE_UNAVAILABLE,
            Self::NodeSilent => StatusCode::GATEWAY_TIMEOUT,
            Self::NodeRefuses | Self::AgentTooOld => StatusCode::FAILED_DEPENDENCY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
