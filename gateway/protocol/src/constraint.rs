//! What a model demands of an input, checked before anything else looks at it: all members together, one
//! ValidationException that counts what is wrong, in AWS's words.
//!
//! ```text
//! 2 validation errors detected: Value 'a!' at 'functionName' failed to satisfy constraint: Member must …; Value null at …
//! ```
//! It never changes the value and never stops at the first error. Types are right already (`rest_json` has seen to it).
//! The texts are no documented interface, but clients show them and tests compare them.

use crate::Fault;
use crate::shape::{Bounds, Pattern, Shape, Structure};
use regex::Regex;
use serde_json::{Map as Object, Number, Value};
use std::fmt::{Display, Formatter, Result as Written};

#[cfg(test)]
mod tests;

/// A hostile value must not come back many times its size. Bytes.
const LONGEST_SHOWN: usize = 64 * 1024;

/// Checks a whole input against the shape of its operation.
pub fn check(shape: &'static Structure, input: &Object<String, Value>) -> Result<(), Fault> {
    let mut violations = Violations::default();
    violations.structure(shape, input, None);
    match violations.texts.len() {
        0 => Ok(()),
        1 => Err(Fault::validation(format!("1 validation error detected: {}", violations.texts[0]))),
        n => Err(Fault::validation(format!("{n} validation errors detected: {}", violations.texts.join("; ")))),
    }
}

/// AWS matches the whole text. The patterns are the generator's, and a test compiles each.
pub(crate) fn compile(pattern: &str) -> Regex {
    Regex::new(&format!(r"\A(?:{pattern})\z")).expect("a generated pattern is a regex")
}

#[derive(Default)]
struct Violations {
    texts: Vec<String>,
}

impl Violations {
    fn structure(&mut self, shape: &'static Structure, object: &Object<String, Value>, above: Option<&Path<'_>>) {
        for member in shape.members {
            let value = object.get(member.name).unwrap_or(&Value::Null);
            if member.required || !value.is_null() {
                self.value(member.shape, value, &Path { above, step: Step::Member(member.name) });
            }
        }
    }

    fn value(&mut self, shape: Shape, value: &Value, path: &Path<'_>) {
        if value.is_null() {
            return self.add(shape, value, path, Constraint::NotNull);
        }
        for constraint in constraints(shape).filter(|constraint| !constraint.holds(value)) {
            self.add(shape, value, path, constraint);
        }
        match (shape, value) {
            (Shape::Structure(structure), Value::Object(object)) => self.structure(structure, object, Some(path)),
            // Elements that are structures are reported one by one, all others by their list.
            (Shape::List(list), Value::Array(elements)) if matches!(list.element, Shape::Structure(_)) => {
                for (index, element) in elements.iter().enumerate() {
                    self.value(list.element, element, &Path { above: Some(path), step: Step::Element(index) });
                }
            }
            (Shape::List(list), Value::Array(elements)) => {
                let each = Each { whose: "Member", shape: list.element, nullable: list.nullable };
                if !elements.iter().all(|element| holds(list.element, element)) {
                    self.add(shape, value, path, each);
                }
            }
            (Shape::Map(map), Value::Object(entries)) => {
                let key = Each { whose: "Map keys", shape: Shape::String(map.key), nullable: true };
                if !entries.keys().all(|text| constraints(key.shape).all(|constraint| constraint.holds_for_text(text)))
                {
                    self.add(shape, value, path, key);
                }
                if !entries.values().all(|value| holds(map.value, value)) {
                    self.add(shape, value, path, Each { whose: "Map value", shape: map.value, nullable: false });
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, shape: Shape, value: &Value, path: &Path<'_>, constraint: impl Display) {
        let value = match (shape, value) {
            (_, Value::Null) => "null ".to_owned(),
            (Shape::Map(map), _) if map.sensitive => String::new(),
            _ => {
                let mut shown = Shown { shape, value }.to_string();
                shown.truncate(shown.floor_char_boundary(LONGEST_SHOWN));
                format!("'{shown}' ")
            }
        };
        self.texts.push(format!("Value {value}at '{path}' failed to satisfy constraint: {constraint}"));
    }
}

/// One demand on one value. Displayed in AWS's words.
enum Constraint {
    AtMost(Number),
    AtLeast(Number),
    NotLonger(i64),
    NotShorter(i64),
    Matches(&'static Pattern),
    OneOf(&'static [&'static str]),
    NotNull,
}

/// The demands of a shape itself, in the order in which AWS lists them.
fn constraints(shape: Shape) -> impl Iterator<Item = Constraint> {
    let value = |at_most: Option<Number>, at_least: Option<Number>| {
        [at_most.map(Constraint::AtMost), at_least.map(Constraint::AtLeast), None, None]
    };
    let length = |bounds: &Bounds<i64>| [bounds.max.map(Constraint::NotLonger), bounds.min.map(Constraint::NotShorter)];
    let demands = match shape {
        Shape::Integer(bounds) | Shape::Long(bounds) => {
            value(bounds.max.map(Number::from), bounds.min.map(Number::from))
        }
        Shape::Double(bounds) => value(bounds.max.and_then(Number::from_f64), bounds.min.and_then(Number::from_f64)),
        Shape::String(text) => {
            let [longest, shortest] = length(&text.length);
            let values = (!text.values.is_empty()).then_some(Constraint::OneOf(text.values));
            [longest, shortest, text.pattern.as_ref().map(Constraint::Matches), values]
        }
        Shape::List(list) => {
            let [longest, shortest] = length(&list.length);
            [longest, shortest, None, None]
        }
        Shape::Map(map) => {
            let [longest, shortest] = length(&map.length);
            [longest, shortest, None, None]
        }
        Shape::Blob | Shape::Boolean | Shape::Structure(_) => [None, None, None, None],
    };
    demands.into_iter().flatten()
}

fn holds(shape: Shape, value: &Value) -> bool {
    !value.is_null() && constraints(shape).all(|constraint| constraint.holds(value))
}

impl Constraint {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Constraint::AtMost(bound), Value::Number(number)) => number.as_f64() <= bound.as_f64(),
            (Constraint::AtLeast(bound), Value::Number(number)) => number.as_f64() >= bound.as_f64(),
            (Constraint::NotLonger(bound), Value::Array(elements)) => elements.len() as i64 <= *bound,
            (Constraint::NotShorter(bound), Value::Array(elements)) => elements.len() as i64 >= *bound,
            (Constraint::NotLonger(bound), Value::Object(entries)) => entries.len() as i64 <= *bound,
            (Constraint::NotShorter(bound), Value::Object(entries)) => entries.len() as i64 >= *bound,
            (_, Value::String(text)) => self.holds_for_text(text),
            (_, value) => !value.is_null(),
        }
    }

    fn holds_for_text(&self, text: &str) -> bool {
        match self {
            Constraint::NotLonger(bound) => text.chars().count() as i64 <= *bound,
            Constraint::NotShorter(bound) => text.chars().count() as i64 >= *bound,
            Constraint::Matches(pattern) => pattern.regex.is_match(text),
            Constraint::OneOf(values) => values.contains(&text),
            Constraint::AtMost(_) | Constraint::AtLeast(_) | Constraint::NotNull => true,
        }
    }
}

impl Display for Constraint {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Constraint::AtMost(bound) => write!(f, "Member must have value less than or equal to {bound}"),
            Constraint::AtLeast(bound) => write!(f, "Member must have value greater than or equal to {bound}"),
            Constraint::NotLonger(bound) => write!(f, "Member must have length less than or equal to {bound}"),
            Constraint::NotShorter(bound) => write!(f, "Member must have length greater than or equal to {bound}"),
            Constraint::Matches(pattern) => {
                write!(f, "Member must satisfy regular expression pattern: {}", pattern.printed)
            }
            Constraint::OneOf(values) => write!(f, "Member must satisfy enum value set: [{}]", values.join(", ")),
            Constraint::NotNull => write!(f, "Member must not be null"),
        }
    }
}

/// Demands on elements, keys or values, listed whole as soon as one of them breaks one.
struct Each {
    whose: &'static str,
    shape: Shape,
    nullable: bool,
}

impl Display for Each {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let not_null = (!self.nullable).then_some(Constraint::NotNull);
        let demands: Vec<String> = constraints(self.shape).chain(not_null).map(|demand| demand.to_string()).collect();
        write!(f, "{} must satisfy constraint: [{}]", self.whose, demands.join(", "))
    }
}

/// A value as Java prints it.
struct Shown<'a> {
    shape: Shape,
    value: &'a Value,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let joined = |parts: Vec<String>| parts.join(", ");
        match (self.shape, self.value) {
            (Shape::List(list), Value::Array(elements)) => {
                let shown = elements.iter().map(|value| Shown { shape: list.element, value }.to_string());
                write!(f, "[{}]", joined(shown.collect()))
            }
            (Shape::Map(map), Value::Object(entries)) => {
                let shown = entries.iter().map(|(key, value)| format!("{key}={}", Shown { shape: map.value, value }));
                write!(f, "{{{}}}", joined(shown.collect()))
            }
            (Shape::Structure(structure), Value::Object(object)) => {
                let shown = structure.members.iter().map(|member| {
                    let value = object.get(member.name).unwrap_or(&Value::Null);
                    format!("{}={}", Camel(member.name), Shown { shape: member.shape, value })
                });
                write!(f, "{}({})", structure.name, joined(shown.collect()))
            }
            (_, Value::String(text)) => f.write_str(text),
            (_, value) => write!(f, "{value}"),
        }
    }
}

/// Where a value is: `fileSystemConfigs.1.member.arn`. Built while walking, written only for what is wrong.
struct Path<'a> {
    above: Option<&'a Path<'a>>,
    step: Step,
}

enum Step {
    Member(&'static str),
    Element(usize),
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        if let Some(above) = self.above {
            write!(f, "{above}.")?;
        }
        match self.step {
            Step::Member(name) => write!(f, "{}", Camel(name)),
            Step::Element(index) => write!(f, "{}.member", index + 1),
        }
    }
}

/// `FunctionName` as `functionName`: only the first letter changes, so `KMSKeyArn` is `kMSKeyArn`.
struct Camel(&'static str);

impl Display for Camel {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let (first, rest) = self.0.split_at(self.0.len().min(1));
        write!(f, "{}{rest}", first.to_ascii_lowercase())
    }
}
