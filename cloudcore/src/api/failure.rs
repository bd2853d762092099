//! Why a request was not done, as a problem detail (RFC 9457).

mod problem_type;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet_api::Problem;
use millwright_document::DocumentError;

use crate::pki::PkiError;
use crate::registry::RegistryError;
use crate::store::StoreError;

pub(crate) use problem_type::ProblemType;

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
        self.kind.status()
    }

    /// The document that says it.
    pub(crate) fn problem(self) -> Problem {
        Problem {
            kind: format!("urn:millwright:problem:{}", self.kind.name()),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
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
