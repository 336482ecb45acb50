//! What the generated tables say of an operation: its types, and its place in HTTP.

use crate::shape::{Location, Structure};
use bytes::Bytes;
use http::Method;
use serde::{Serialize, de::DeserializeOwned};

/// One operation of one service, implemented by a unit struct of its name in `model`.
pub trait Operation {
    type Input: DeserializeOwned;
    type Output: Serialize;
    const ROUTE: &'static Route;
    /// Members of the output that are not in its JSON body.
    const OUTSIDE_BODY: &'static [(&'static str, Location)] = &[];

    /// What the model demands of the input.
    fn input() -> &'static Structure;

    /// Gives an input whose body is raw bytes its body.
    fn set_payload(_input: &mut Self::Input, _body: Bytes) {}

    /// The body of an output whose body is raw bytes.
    fn payload(_output: &Self::Output) -> Option<&Bytes> {
        None
    }
}

/// The HTTP binding of an operation, typed or not.
#[derive(Debug)]
pub struct Route {
    pub service: &'static str,
    pub operation: &'static str,
    pub method: Method,
    /// Segments and `{Labels}`, without a slash at its end.
    pub path: &'static str,
    /// Pairs that tell it from another operation on the same path; an empty value stands for any.
    pub query: &'static [(&'static str, &'static str)],
    /// The status of a success.
    pub status: u16,
}
