//! Messages of the control connection: a u32 length (little endian), then postcard.

use crate::{Credential, LinkError, WorkerId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::PathBuf;
use uuid::Uuid;

/// The longest message in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The first message on every connection, from the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u16,
    pub worker: WorkerId,
    pub class: u64,
    pub channel: Channel,
    pub credential: Credential,
    pub held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    Control,
    Invocation,
}

/// What the worker is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Held {
    /// Still starting (its first hello).
    Starting,
    /// Warm, bound to nothing.
    Generic,
    /// An environment. `busy`: an invocation whose gateway was lost is still running.
    Bound { environment: EnvironmentId, busy: bool },
}

/// Which function version an environment is bound to, as the gateway named it in the claim. Opaque to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnvironmentId {
    /// Unqualified ARN.
    pub function_arn: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// Changes with every change of code or configuration.
    pub generation: Uuid,
}

/// Gateway to agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Answers a control hello. The secret is for every later hello; the token is spent.
    Welcome { secret: Credential },
    /// Become an environment of this function version. Valid once, for a generic worker.
    Claim(Box<Claim>),
    /// End the runtime and extensions as AWS does for `spindown`, then leave.
    Shutdown,
}

/// Agent to gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// The generic worker is ready for a claim. `layers` names the isolation layers that are on.
    Warm { layers: Vec<String> },
    /// Init is over, well or not: invocations may come. After a failed one the first invocation repeats it.
    Ready(InitReport),
    /// The claim could not be carried out (code cannot be mounted, …). The agent leaves after this.
    ClaimFailed { reason: String },
    /// The invocation of a lost gateway is over; the invocation connection follows.
    Idle,
    /// Lines of the function's log stream since the last one of these, in order.
    Logs(Vec<LogEvent>),
    /// Lines that were dropped because the function wrote faster than the gateway read.
    LogsDropped { events: u64, bytes: u64 },
    /// The agent cannot go on; it leaves after this.
    Failed { reason: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitReport {
    pub outcome: InitOutcome,
    /// Microseconds from the claim to the runtime's first `next` (or to the failure).
    pub duration_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitOutcome {
    Succeeded,
    /// AWS's error type, such as `Runtime.ImportModuleError`.
    Failed {
        error_type: String,
    },
    TimedOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    #[serde(with = "bytes")]
    pub line: Vec<u8>,
}

/// Bytes in one piece: serde takes a vector for a sequence and would visit each of its elements. The same on the wire.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

/// Turns a generic worker into an environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub environment: EnvironmentId,
    pub function_name: String,
    /// As invocations see it when they were made without a qualifier.
    pub invoked_arn: String,
    pub account: String,
    pub handler: String,
    pub memory_mib: u32,
    pub timeout_ms: u32,
    pub ephemeral_mib: u32,
    /// The init phase's limit, milliseconds (10,000 on demand).
    pub init_timeout_ms: u32,
    /// The longest answer of a buffered invocation, bytes.
    pub max_response: u32,
    /// The processes' environment, complete and in order, but for what only the agent knows
    /// (`AWS_LAMBDA_RUNTIME_API`, `_LAMBDA_TELEMETRY_LOG_FD`).
    pub variables: Vec<(String, String)>,
    pub code: Code,
    pub layers: Vec<Code>,
    pub log_format: LogFormat,
    /// `python:3.12.v0` and the ARN, for `INIT_START`.
    pub runtime_version: Option<(String, String)>,
    pub initialization_type: String,
}

/// Where the agent finds code. Shown at `/var/task`; layers are merged at `/opt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Code {
    /// Unpacked on this machine, read-only, content addressed.
    Directory(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    Text,
    Json,
}

/// The bytes of `message`, with its length in front.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, LinkError> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(LinkError::Malformed)?;
    let length = bytes.len() - 4;
    if length > MAX_MESSAGE {
        return Err(LinkError::TooLong(length, MAX_MESSAGE));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// The message at the start of `bytes` and how many bytes it took; `None` while bytes are missing.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(M, usize)>, LinkError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_MESSAGE {
        return Err(LinkError::TooLong(length, MAX_MESSAGE));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some((postcard::from_bytes(body).map_err(LinkError::Malformed)?, 4 + length)))
}
