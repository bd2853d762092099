//! Why a request was not done, as a problem detail (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::Problem;
use millwright_document::DocumentError;

use crate::pki::PkiError;
use crate::registry::RegistryError;
use crate::store::StoreError;

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
    /// Too much at once.
    Overloaded,
    /// Our fault.
    Internal,
}

impl ProblemType {
    /// Stable name, title and HTTP status.
    fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::Unauthenticated => ("unauthenticated", "Who are you?", StatusCode::UNAUTHORIZED),
            Self::NotFound => (
                "not-found",
                "There is no such object",
                StatusCode::NOT_FOUND,
            ),
            Self::UnknownRoute => (
                "unknown-route",
                "Nothing answers at this address",
                StatusCode::NOT_FOUND,
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "This address does not answer this method",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Self::UnknownField => ("unknown-field", "Unknown field", StatusCode::BAD_REQUEST),
            Self::InvalidField => (
                "invalid-field",
                "A field has a value that does not fit",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Self::InvalidBody => (
                "invalid-body",
                "The request cannot be read",
                StatusCode::BAD_REQUEST,
            ),
            Self::TooLarge => (
                "too-large",
                "The request is over a limit",
                StatusCode::PAYLOAD_TOO_LARGE,
            ),
            Self::AlreadyExists => ("already-exists", "The name is taken", StatusCode::CONFLICT),
            Self::Conflict => (
                "conflict",
                "Somebody else changed the object",
                StatusCode::CONFLICT,
            ),
            Self::Immutable => ("immutable", "This does not change", StatusCode::CONFLICT),
            Self::InUse => ("in-use", "Other objects need it", StatusCode::CONFLICT),
            Self::Expired => (
                "expired",
                "The watch cannot resume from there",
                StatusCode::GONE,
            ),
            Self::BadPackage => (
                "bad-package",
                "The package is not complete or not consistent",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Self::TokenUnknown => (
                "token-unknown",
                "No such join token",
                StatusCode::UNAUTHORIZED,
            ),
            Self::TokenExpired => (
                "token-expired",
                "The join token is over",
                StatusCode::FORBIDDEN,
            ),
            Self::TokenUsedUp => (
                "token-used-up",
                "The join token has no use left",
                StatusCode::FORBIDDEN,
            ),
            Self::TokenRevoked => (
                "token-revoked",
                "The join token was revoked",
                StatusCode::FORBIDDEN,
            ),
            Self::NodeNameTaken => (
                "node-name-taken",
                "A node of this name is enrolled",
                StatusCode::CONFLICT,
            ),
            Self::ProofFailed => (
                "proof-failed",
                "The device did not prove that it holds its keys",
                StatusCode::BAD_REQUEST,
            ),
            Self::Overloaded => (
                "overloaded",
                "Too much at once",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::Internal => (
                "internal",
                "Cloudcore failed",
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
        }
    }
}

/// One refused or failed request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What kind.
    pub(crate) kind: ProblemType,
    detail: String,
    field: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// A problem of this kind; `detail` says what is wrong with this request.
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            hint: None,
        }
    }

    /// A value that does not fit.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::new(ProblemType::InvalidField, detail.to_string()).at(field)
    }

    /// No object of this kind and name.
    pub(crate) fn not_found(kind: &str, name: &str) -> Self {
        Self::new(
            ProblemType::NotFound,
            format!("there is no {kind} named `{name}`"),
        )
    }

    /// Names the field at fault.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is wrong, for the audit trail.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.parts().2
    }

    fn problem(self) -> Problem {
        let (name, title, status) = self.kind.parts();
        Problem {
            kind: format!("urn:millwright:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            field: self.field,
            hint: self.hint,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.problem())).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<StoreError> for Failure {
    fn from(fault: StoreError) -> Self {
        tracing::error!(error = &fault as &dyn std::error::Error, "the store failed");
        Self::new(
            ProblemType::Internal,
            "the store failed; see cloudcore's log",
        )
    }
}

impl From<PkiError> for Failure {
    fn from(fault: PkiError) -> Self {
        match fault {
            PkiError::Request(why) => {
                let detail = format!("the certificate request is not usable: {why}");
                Self::new(ProblemType::ProofFailed, detail).at("csr")
            }
            PkiError::RequestKey => {
                Self::new(ProblemType::ProofFailed, fault.to_string()).at("csr")
            }
            fault => {
                tracing::error!(
                    error = &fault as &dyn std::error::Error,
                    "the certificate authority failed"
                );
                Self::new(
                    ProblemType::Internal,
                    "the certificate authority failed; see cloudcore's log",
                )
            }
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(fault: RegistryError) -> Self {
        let kind = match fault {
            RegistryError::Unknown(_) => ProblemType::NotFound,
            RegistryError::Mismatch { .. } | RegistryError::Cut { .. } => ProblemType::InvalidBody,
            RegistryError::TooLarge(_) => ProblemType::TooLarge,
            RegistryError::Disk { .. } => {
                tracing::error!(
                    error = &fault as &dyn std::error::Error,
                    "the registry failed"
                );
                return Self::new(
                    ProblemType::Internal,
                    "the registry failed; see cloudcore's log",
                );
            }
        };
        Self::new(kind, fault.to_string())
    }
}

impl From<DocumentError> for Failure {
    fn from(fault: DocumentError) -> Self {
        let kind = match fault {
            DocumentError::TooLarge { .. } => ProblemType::TooLarge,
            DocumentError::UnknownKey { .. } => ProblemType::UnknownField,
            DocumentError::MissingKey { .. } | DocumentError::UnknownValue { .. } => {
                ProblemType::InvalidField
            }
            DocumentError::Invalid { .. } if fault.key().is_some() => ProblemType::InvalidField,
            DocumentError::Invalid { .. } => ProblemType::InvalidBody,
        };
        let failure = Self {
            kind,
            detail: fault.to_string(),
            field: fault.key(),
            hint: None,
        };
        match fault.suggestion() {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        }
    }
}
