//! The vocabulary of the generated shape tables: what a model says about the members of an operation's input.
//!
//! Plain static data. `constraint` walks it to check values, `rest_json` to know where a member travels and which type
//! it has. A protocol with names of its own for each member (ec2query, query) adds them to [`Member`].

use regex::Regex;
use std::sync::LazyLock;

/// A shape as a member, an element, a key or a value refers to it.
#[derive(Clone, Copy)]
pub enum Shape {
    Blob,
    Boolean,
    Integer(Bounds<i64>),
    Long(Bounds<i64>),
    Double(Bounds<f64>),
    String(&'static Text),
    List(&'static List),
    Map(&'static Map),
    Structure(&'static Structure),
}

/// Inclusive bounds of a value, or of a length.
#[derive(Clone, Copy)]
pub struct Bounds<T> {
    pub min: Option<T>,
    pub max: Option<T>,
}

pub struct Text {
    pub length: Bounds<i64>,
    pub pattern: Option<Pattern>,
    /// The values of an enumeration in the order in which AWS prints them; empty where any text will do.
    pub values: &'static [&'static str],
}

/// A pattern as AWS prints it, and the same language as a regex of ours, compiled when first needed.
pub struct Pattern {
    pub printed: &'static str,
    pub regex: LazyLock<Regex>,
}

impl Pattern {
    pub const fn new(printed: &'static str, compile: fn() -> Regex) -> Pattern {
        Pattern { printed, regex: LazyLock::new(compile) }
    }
}

pub struct List {
    pub element: Shape,
    pub length: Bounds<i64>,
    /// Whether AWS leaves "Member must not be null" out of what it prints about an element.
    pub nullable: bool,
}

pub struct Map {
    pub key: &'static Text,
    pub value: Shape,
    pub length: Bounds<i64>,
    /// The value is not repeated in messages.
    pub sensitive: bool,
}

pub struct Structure {
    pub name: &'static str,
    pub members: &'static [Member],
}

pub struct Member {
    /// As in the model, and in JSON: `FunctionName`.
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub location: Location,
}

/// Where a member travels in an HTTP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Body,
    /// A label of the path.
    Uri(&'static str),
    Query(&'static str),
    /// In lower case.
    Header(&'static str),
    StatusCode,
    /// The whole body, as it is.
    Payload,
}
