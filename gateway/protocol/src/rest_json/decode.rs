//! A request as a typed input: one JSON object gathered from path, query, headers and body, given the model's types,
//! checked against the model's constraints, then read by serde.
//!
//! What cannot be read is a SerializationException, in the words of AWS's own parser; what can be read and is not
//! allowed is a ValidationException (`constraint`).

use crate::constraint;
use crate::fault::{Fault, SERIALIZATION};
use crate::operation::Operation;
use crate::rest_json::Labels;
use crate::shape::{Location, Shape, Structure};
use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::{Map as Object, Number, Value};
use std::borrow::Cow;

/// The input of the operation `O`. `query` is the raw query of the URI.
pub fn decode<O: Operation>(
    labels: &Labels,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<O::Input, Fault> {
    let shape = O::input();
    let travels = |location| shape.members.iter().any(|member| member.location == location);
    let (mut input, payload) = if travels(Location::Payload) {
        (Object::new(), Some(body))
    } else if travels(Location::Body) {
        (parse(body)?, None)
    } else {
        (Object::new(), None)
    };
    for member in shape.members {
        if member.location != Location::Body {
            // Whatever a body says under this name is not meant.
            input.remove(member.name);
        }
        let value = match member.location {
            Location::Body => {
                input.get_mut(member.name).map_or(Ok(()), |value| conform(member.shape, value))?;
                None
            }
            Location::Uri(label) => labels.get(label).map(|text| scalar(member.shape, text.into())).transpose()?,
            Location::Header(name) => {
                let text = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
                text.map(|text| scalar(member.shape, text)).transpose()?
            }
            Location::Query(key) => from_query(member.shape, values(query.unwrap_or_default(), key))?,
            Location::Payload | Location::StatusCode => None,
        };
        if let Some(value) = value {
            input.insert(member.name.to_owned(), value);
        }
    }
    constraint::check(shape, &input)?;
    let mut typed = serde_json::from_value(Value::Object(input)).map_err(|error| unreadable(error.to_string()))?;
    if let Some(payload) = payload {
        O::set_payload(&mut typed, payload);
    }
    Ok(typed)
}

fn unreadable(message: impl Into<String>) -> Fault {
    Fault::new(&SERIALIZATION, message)
}

/// The members of a JSON body; none at all is none given.
fn parse(body: Bytes) -> Result<Object<String, Value>, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Object::new());
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Array(_)) => Err(unreadable("Start of list found where not expected")),
        Ok(_) => Err(unreadable("Expected null")),
        Err(error) => Err(unreadable(format!("Could not parse request body into json: {error}"))),
    }
}

/// A member from the values of its key: a list takes all of them, others the first.
fn from_query<'q>(shape: Shape, mut texts: impl Iterator<Item = Cow<'q, str>>) -> Result<Option<Value>, Fault> {
    let Shape::List(list) = shape else { return texts.next().map(|text| scalar(shape, text)).transpose() };
    let elements: Vec<Value> = texts.map(|text| scalar(list.element, text)).collect::<Result<_, _>>()?;
    Ok((!elements.is_empty()).then_some(Value::Array(elements)))
}

/// A value from path, query or header, in the type of its shape.
fn scalar(shape: Shape, text: Cow<'_, str>) -> Result<Value, Fault> {
    let mut value = match shape {
        Shape::Integer(_) | Shape::Long(_) | Shape::Double(_) => text.trim().parse::<Number>().map(Value::Number).ok(),
        Shape::Boolean => text.trim().parse::<bool>().map(Value::Bool).ok(),
        _ => None,
    }
    .unwrap_or_else(|| Value::String(text.into_owned()));
    conform(shape, &mut value)?;
    Ok(value)
}

/// All values of a key of a raw query, decoded.
fn values<'q>(query: &'q str, key: &'q str) -> impl Iterator<Item = Cow<'q, str>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| decoded(name) == key).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

/// Gives a value the type of its shape, as AWS's parser does: a fraction is cut off where an integer is meant, nothing
/// else is converted.
fn conform(shape: Shape, value: &mut Value) -> Result<(), Fault> {
    if let Value::Number(number) = value
        && let Some(converted) = convert(shape, number)
    {
        *number = converted;
        return Ok(());
    }
    match (shape, value) {
        (_, Value::Null) | (Shape::Boolean, Value::Bool(_)) | (Shape::String(_) | Shape::Blob, Value::String(_)) => {
            Ok(())
        }
        (Shape::Structure(structure), Value::Object(object)) => members(structure, object),
        (Shape::List(list), Value::Array(elements)) => {
            elements.iter_mut().try_for_each(|element| conform(list.element, element))
        }
        (Shape::Map(map), Value::Object(entries)) => {
            entries.values_mut().try_for_each(|value| conform(map.value, value))
        }
        (Shape::List(_), _) => Err(unreadable("Expected list or null")),
        (_, Value::Array(_)) => Err(unreadable("Start of list found where not expected")),
        (Shape::Structure(_) | Shape::Map(_), _) => Err(unreadable("Expected null")),
        (_, Value::Object(_)) => Err(unreadable("Start of structure or map found where not expected.")),
        (shape, value) => Err(unreadable(format!("{} can not be converted to {}", token(value), java(shape)))),
    }
}

/// A number as a shape has it; None where the shape has no numbers or not this one.
fn convert(shape: Shape, number: &Number) -> Option<Number> {
    match shape {
        Shape::Integer(_) => i32::try_from(whole(number)?).ok().map(Number::from),
        Shape::Long(_) => whole(number).map(Number::from),
        Shape::Double(_) => Number::from_f64(number.as_f64()?),
        _ => None,
    }
}

fn members(structure: &Structure, object: &mut Object<String, Value>) -> Result<(), Fault> {
    for member in structure.members {
        if let Some(value) = object.get_mut(member.name) {
            conform(member.shape, value)?;
        }
    }
    Ok(())
}

fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?.trunc();
        (float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

/// What AWS's parser calls a JSON token.
fn token(value: &Value) -> &'static str {
    match value {
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        _ => "STRING_VALUE",
    }
}

fn java(shape: Shape) -> &'static str {
    match shape {
        Shape::Boolean => "a Boolean",
        Shape::Integer(_) => "an Integer",
        Shape::Long(_) => "a Long",
        Shape::Double(_) => "a Double",
        Shape::Blob => "a ByteBuffer",
        _ => "a String",
    }
}
