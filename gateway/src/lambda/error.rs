//! What a caller of Lambda reads when a call is refused: the texts are AWS's own, byte for byte where they were recorded.

use super::package::PackageError;
use crate::pool::limits::{NotEnoughUnreserved, Throttle};
use crate::store::StoreError;
use std::time::Duration;
use uuid::Uuid;
use warmpod_protocol::fault::REQUEST_ENTITY_TOO_LARGE;
use warmpod_protocol::model::lambda::fault as code;
use warmpod_protocol::{Fault, FaultCode, FunctionNameError};

#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    #[error("Function not found: {0}")]
    FunctionNotFound(String),
    #[error("Cannot find alias arn: {0}")]
    AliasNotFound(String),
    #[error("Alias not found: {0}")]
    AliasToUpdateNotFound(String),
    #[error("Alias already exists: {0}")]
    AliasExists(String),
    #[error("{0}")]
    ResourceNotFound(String),
    #[error("{0}")]
    VersionInUse(String),
    #[error("Function already exist: {0}")]
    FunctionExists(String),
    #[error("The operation cannot be performed at this time. The function is currently in the following state: {0}")]
    NotActive(String),
    #[error("The operation cannot be performed at this time. An update is in progress for resource: {0}")]
    UpdateInProgress(String),
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )]
    RevisionMismatch,
    /// A text of its own per case; see where it is made.
    #[error("{0}")]
    InvalidParameter(String),
    /// The same, for those of AWS's checks whose answer has no `Type`.
    #[error("{0}")]
    InvalidParameterUntyped(String),
    #[error("{0}")]
    Validation(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("Code storage limit exceeded.")]
    CodeStorageExceeded,
    #[error("{0}")]
    InvalidRequestContent(String),
    #[error("Rate Exceeded.")]
    Throttled(Throttle),
    #[error("[{request}] Timeout while starting up lambda environment for function {function}")]
    StartTimeout { request: Uuid, function: String, after: Duration },
    #[error("[{request}] Internal error while executing lambda {function}. Caused by {reason}")]
    Environment { request: Uuid, function: String, reason: String },
    #[error("{0}")]
    NotImplemented(String),
    #[error("The service cannot store this now: {0}")]
    Store(#[from] StoreError),
    /// The chain goes to the log; the client reads that something failed, and the request id finds the line.
    #[error("The service failed; its log names the cause under this request id")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A function name that means nothing here.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NameError(#[from] pub FunctionNameError);

impl From<FunctionNameError> for LambdaError {
    fn from(error: FunctionNameError) -> Self {
        Self::Name(NameError(error))
    }
}

impl From<PackageError> for LambdaError {
    fn from(error: PackageError) -> Self {
        match error {
            PackageError::NotAZip(_) | PackageError::TooLarge(_) => Self::InvalidParameter(error.to_string()),
            PackageError::Io(error) => Self::Internal(error.into()),
        }
    }
}

impl From<NotEnoughUnreserved> for LambdaError {
    fn from(error: NotEnoughUnreserved) -> Self {
        Self::InvalidParameterUntyped(error.to_string())
    }
}

impl LambdaError {
    fn code(&self) -> &'static FaultCode {
        match self {
            Self::FunctionNotFound(_)
            | Self::AliasNotFound(_)
            | Self::AliasToUpdateNotFound(_)
            | Self::ResourceNotFound(_) => &code::RESOURCE_NOT_FOUND,
            Self::VersionInUse(_)
            | Self::FunctionExists(_)
            | Self::AliasExists(_)
            | Self::NotActive(_)
            | Self::UpdateInProgress(_) => &code::RESOURCE_CONFLICT,
            Self::RevisionMismatch => &code::PRECONDITION_FAILED,
            Self::InvalidParameter(_) | Self::InvalidParameterUntyped(_) => &code::INVALID_PARAMETER_VALUE,
            Self::TooLarge(_) => &REQUEST_ENTITY_TOO_LARGE,
            Self::CodeStorageExceeded => &code::CODE_STORAGE_EXCEEDED,
            Self::InvalidRequestContent(_) => &code::INVALID_REQUEST_CONTENT,
            Self::Throttled(_) => &code::TOO_MANY_REQUESTS,
            Self::Validation(_) => &warmpod_protocol::fault::VALIDATION,
            Self::NotImplemented(_) => &warmpod_protocol::fault::NOT_IMPLEMENTED,
            Self::StartTimeout { .. } | Self::Environment { .. } | Self::Store(_) | Self::Internal(_) => &code::SERVICE,
            Self::Name(_) => &warmpod_protocol::fault::VALIDATION,
        }
    }

    /// Whether trying again later can help without anybody changing anything: how the asynchronous queue decides.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::NotActive(_)) || self.code().status >= 500
    }
}

impl From<LambdaError> for Fault {
    fn from(error: LambdaError) -> Fault {
        if let LambdaError::Internal(cause) = &error {
            tracing::error!(error = %cause, "a Lambda call failed");
        }
        let fault = Fault::new(error.code(), error.to_string());
        match error {
            LambdaError::Name(NameError(name)) => name.into(),
            LambdaError::Throttled(throttle) => fault.with("Reason", throttle.reason()),
            LambdaError::InvalidParameterUntyped(_) => fault.without_type(),
            _ => fault,
        }
    }
}
