//! What a client reads when a call is refused: a code, a status, a message, now and then a member more.
//!
//! The codes of a service's model are generated (`model::lambda::fault::RESOURCE_NOT_FOUND`); those that no model has
//! are here. How a fault looks on the wire is its codec's (`rest_json::encode_fault`).
//! <https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html>

use crate::operation::Route;

/// Who has to act: the client (`Type: User` on the wire) or the service (`Type: Service`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Sender,
    Receiver,
}

#[derive(Debug)]
pub struct FaultCode {
    pub name: &'static str,
    pub status: u16,
    /// `Message` or `message`: the spelling is part of the contract.
    pub message: &'static str,
    /// None: such a fault has no `Type`.
    pub side: Option<Side>,
    /// Members that travel as headers.
    pub headers: &'static [(&'static str, &'static str)],
}

const fn unmodelled(name: &'static str, status: u16, message: &'static str) -> FaultCode {
    FaultCode { name, status, message, side: None, headers: &[] }
}

pub static VALIDATION: FaultCode = unmodelled("ValidationException", 400, "message");
pub static SERIALIZATION: FaultCode = unmodelled("SerializationException", 400, "Message");
pub static REQUEST_ENTITY_TOO_LARGE: FaultCode = unmodelled("RequestEntityTooLargeException", 413, "message");
pub static ACCESS_DENIED: FaultCode = unmodelled("AccessDeniedException", 403, "Message");
pub static UNKNOWN_OPERATION: FaultCode = unmodelled("UnknownOperationException", 404, "message");
pub static NOT_IMPLEMENTED: FaultCode = unmodelled("NotImplementedException", 501, "message");

/// A call's refusal.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", code.name)]
pub struct Fault {
    pub code: &'static FaultCode,
    pub message: String,
    /// Further members by their names in the model, such as `Reason`.
    pub members: Vec<(&'static str, String)>,
    typed: bool,
}

impl Fault {
    pub fn new(code: &'static FaultCode, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), members: Vec::new(), typed: true }
    }

    pub fn with(mut self, member: &'static str, value: impl Into<String>) -> Fault {
        self.members.push((member, value.into()));
        self
    }

    /// Without the `Type` that its code has: some of AWS's checks answer so.
    pub fn without_type(mut self) -> Fault {
        self.typed = false;
        self
    }

    pub fn validation(message: impl Into<String>) -> Fault {
        Fault::new(&VALIDATION, message)
    }

    /// An operation that AWS has and that is not here.
    pub fn not_implemented(route: &Route) -> Fault {
        let message = format!(
            "{}:{} is an operation of AWS that warmpod does not implement; GET /_warmpod/operations lists those it does",
            route.service, route.operation
        );
        Fault::new(&NOT_IMPLEMENTED, message)
    }

    /// A method and path that no operation has.
    pub fn unknown_operation() -> Fault {
        Fault::new(&UNKNOWN_OPERATION, "no operation of AWS has this method and path")
    }

    pub fn side(&self) -> Option<Side> {
        self.code.side.filter(|_| self.typed)
    }
}
