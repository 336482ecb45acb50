//! Outputs and faults as HTTP answers.

use crate::fault::{Fault, Side};
use crate::operation::Operation;
use crate::shape::Location;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map as Object, Value};

/// A whole answer but for what is the server's: request id, date, length.
pub type Answer = Response<Bytes>;

static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer of a success.
pub fn encode<O: Operation>(output: &O::Output) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status(O::ROUTE.status);
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON.clone());
    if O::OUTSIDE_BODY.is_empty() {
        if answer.status() != StatusCode::NO_CONTENT {
            *answer.body_mut() = serde_json::to_vec(output).expect("maps have text keys").into();
        }
        return answer;
    }
    let Ok(Value::Object(mut members)) = serde_json::to_value(output) else { return answer };
    let mut raw = false;
    for (name, location) in O::OUTSIDE_BODY {
        let value = members.remove(*name).unwrap_or(Value::Null);
        match (location, value) {
            (Location::StatusCode, Value::Number(code)) => {
                *answer.status_mut() = status(code.as_u64().and_then(|code| code.try_into().ok()).unwrap_or(500));
            }
            (Location::Header(header), Value::String(text)) => insert(&mut answer, header, &text),
            (Location::Payload, _) => raw = true,
            _ => {}
        }
    }
    if raw {
        *answer.body_mut() = O::payload(output).cloned().unwrap_or_default();
    } else if answer.status() != StatusCode::NO_CONTENT {
        *answer.body_mut() = Value::Object(members).to_string().into();
    }
    answer
}

/// The answer of a refusal.
pub fn encode_fault(fault: &Fault) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status(fault.code.status);
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON.clone());
    answer.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(fault.code.name));
    let mut body = Object::new();
    if let Some(side) = fault.side() {
        body.insert("Type".into(), if side == Side::Sender { "User".into() } else { "Service".into() });
    }
    for (name, value) in &fault.members {
        match fault.code.headers.iter().find(|(member, _)| member == name) {
            Some((_, header)) => insert(&mut answer, header, value),
            None => drop(body.insert((*name).into(), value.as_str().into())),
        }
    }
    body.insert(fault.code.message.into(), fault.message.as_str().into());
    *answer.body_mut() = Value::Object(body).to_string().into();
    answer
}

/// A text that HTTP cannot carry in a header is left out.
fn insert(answer: &mut Answer, header: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        answer.headers_mut().insert(header, value);
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
