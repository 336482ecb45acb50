//! rest-json, the protocol of Lambda: a resource path, query, headers, and a JSON (or raw) body.
//!
//! `find` tells the operation of a request, `decode` makes its typed and checked input, `encode` and `encode_fault` the
//! answer. All of it is driven by the tables of `model`; an operation needs no code here. The request id and the date of
//! an answer are the server's to add.
//! <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html>

mod decode;
mod encode;
mod route;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::{Answer, encode, encode_fault};
pub use route::{Labels, find};
