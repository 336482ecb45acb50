//! AWS's wire protocols: bytes and HTTP heads in, typed inputs out, and back. No I/O, no clock, no state.
//!
//! ```text
//!  request ── Caller (who, which region) ── rest_json::find (which operation) ── rest_json::decode ──> input
//!                                                                                    │ constraint::check
//!  answer  <── rest_json::encode ── output            answer <── rest_json::encode_fault ── Fault
//! ```
//!
//! `model` is generated from botocore's models, so everything that differs between operations is data there; the
//! codecs are generic. `arn` and `function_name` are the names that these APIs pass around.

pub mod arn;
mod blob;
mod caller;
pub mod constraint;
pub mod fault;
pub mod function_name;
pub mod model;
pub mod operation;
pub mod rest_json;
pub mod shape;
pub mod sigv4;
mod timestamp;

pub use arn::Arn;
pub use caller::Caller;
pub use fault::{Fault, FaultCode};
pub use function_name::{FunctionNameError, FunctionReference};
pub use operation::{Operation, Route};
pub use timestamp::Timestamp;
