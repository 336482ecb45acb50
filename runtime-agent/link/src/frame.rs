//! Frames of the invocation connection: a head of fixed size, a short meta part, then the payload as raw bytes.
//! Fixed, so that one read brings a small invocation whole and nothing is decoded twice.

use crate::LinkError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Length of an encoded [`Head`] in bytes.
pub const HEAD: usize = 24;
/// The longest payload of one frame in bytes. AWS's largest buffered answer is 6 MiB and 100 bytes.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Gateway to agent. Meta: [`InvokeMeta`]; body: the event's bytes.
    Invoke = 1,
    /// Agent to gateway, the function's answer. Meta: the log tail, raw, if it was asked for.
    Response = 2,
    /// Agent to gateway, the invocation failed in the function or its environment. Body: the error document that the
    /// caller reads. Meta as for a response.
    FunctionError = 3,
}

/// The head of a frame. The body follows the meta part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    /// No further frame belongs to this invocation's answer. Always set on buffered answers.
    pub last: bool,
    /// Bytes of the meta part.
    pub meta: u16,
    /// Bytes of the body, at most [`MAX_BODY`].
    pub body: u32,
    pub request: Uuid,
}

impl Head {
    pub fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[0] = self.kind as u8;
        bytes[1] = u8::from(self.last);
        bytes[2..4].copy_from_slice(&self.meta.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body.to_le_bytes());
        bytes[8..].copy_from_slice(self.request.as_bytes());
        bytes
    }

    /// The head at the start of `bytes`; `None` while bytes are missing.
    pub fn decode(bytes: &[u8]) -> Result<Option<Head>, LinkError> {
        let Some(bytes) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let kind = match bytes[0] {
            1 => Kind::Invoke,
            2 => Kind::Response,
            3 => Kind::FunctionError,
            other => return Err(LinkError::UnknownKind(other)),
        };
        let meta = u16::from_le_bytes([bytes[2], bytes[3]]);
        let body = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        if body as usize > MAX_BODY {
            return Err(LinkError::TooLong(body as usize, MAX_BODY));
        }
        let mut request = [0; 16];
        request.copy_from_slice(&bytes[8..]);
        Ok(Some(Head { kind, last: bytes[1] & 1 == 1, meta, body, request: Uuid::from_bytes(request) }))
    }

    /// Length of the whole frame in bytes, head included.
    pub fn frame_len(&self) -> usize {
        HEAD + usize::from(self.meta) + self.body as usize
    }
}

/// What an invocation brings besides its event. Borrowed, since it is read once from the frame.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct InvokeMeta<'a> {
    /// `Root=…;Parent=…;Sampled=…`
    pub trace_id: &'a str,
    /// The ARN as invoked, with its qualifier; empty: the claim's own.
    pub invoked_arn: &'a str,
    /// JSON text, the caller's base64 already decoded.
    pub client_context: Option<&'a str>,
    /// JSON text.
    pub cognito_identity: Option<&'a str>,
    /// The caller wants the last 4,096 bytes of this invocation's log with the answer.
    pub tail: bool,
}

impl<'a> InvokeMeta<'a> {
    pub fn encode(&self) -> Result<Vec<u8>, LinkError> {
        let bytes = postcard::to_stdvec(self).map_err(LinkError::Malformed)?;
        if bytes.len() > usize::from(u16::MAX) {
            return Err(LinkError::TooLong(bytes.len(), usize::from(u16::MAX)));
        }
        Ok(bytes)
    }

    pub fn decode(bytes: &'a [u8]) -> Result<Self, LinkError> {
        postcard::from_bytes(bytes).map_err(LinkError::Malformed)
    }
}
