//! The messages between the gateway and an agent. Bytes in, bytes out: no sockets, no clock, no async.
//!
//! A worker has two connections to its gateway, both opened by the agent and both begun by a [`Hello`]:
//!
//! ```text
//!  control     length-prefixed postcard   claim, logs, ready, shutdown; read all the time by both sides
//!  invocation  frames (a fixed head, then raw bytes)   owned by the lease, one invocation at a time
//! ```
//!
//! ```text
//!  agent                                   gateway
//!    |-- control: Hello{token or secret} ---->|   checks the credential, answers
//!    |<- Welcome{secret} ---------------------|
//!    |-- invocation: Hello{secret} ---------->|
//!    |-- Warm (a generic worker) ------------>|
//!    |<- Claim -------------------------------|
//!    |-- Ready{init report} ----------------->|   the environment may be leased
//!    |<= Invoke frame = = Response frame ====>|   any number of times
//!    |<- Shutdown ----------------------------|
//! ```
//!
//! When a connection breaks, the agent dials again with its secret and says what it is ([`Held`]), so that a restarted
//! gateway finds its warm environments. The invocation connection is dialled again only once no invocation is running:
//! its being there means "free".

pub mod control;
pub mod frame;
pub mod keep;
pub mod trial;
pub mod worker;

pub use control::{Claim, FromAgent, Hello, ToAgent};
pub use frame::{Head, Kind};
pub use keep::{BridgeSpec, KeepSpec};
pub use trial::Trial;
pub use worker::{Credential, WorkerId, WorkerSpec};

/// Both sides refuse another version: gateway and agent are built and shipped together.
pub const VERSION: u16 = 1;

/// Why bytes from the other side were refused. The connection is closed; nothing of it can be trusted any more.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum LinkError {
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    #[error("a message of {0} bytes is over the limit of {1}")]
    TooLong(usize, usize),
    #[error("a message cannot be read: {0}")]
    Malformed(postcard::Error),
}
