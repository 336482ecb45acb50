//! The many forms of Lambda's FunctionName, with the Qualifier beside it, as one reference.
//!
//! ```text
//!  fn   fn:q   function:fn   <account>:function:fn[:q]   <region>:<account>:function:fn   arn:aws:lambda:…:function:fn[:q]
//! ```
//! What a name leaves out is the caller's. Whether such a function exists is not asked here.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html>

use crate::fault::{ACCESS_DENIED, Fault};
use crate::model::lambda::fault::{INVALID_PARAMETER_VALUE, RESOURCE_NOT_FOUND};
use crate::{Arn, Caller};

#[cfg(test)]
mod tests;

/// A function, version or alias as a caller means it. Borrowed: an invocation looks it up and lets it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionReference<'a> {
    pub region: &'a str,
    pub account: &'a str,
    pub name: &'a str,
    /// A version, an alias, `$LATEST`; None where the caller named none.
    pub qualifier: Option<&'a str>,
}

/// Why a name means nothing here. The text is what the client reads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionNameError {
    #[error(
        "1 validation error detected: Value '{0}' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: {PATTERN}"
    )]
    Malformed(String),
    #[error("Functions from '{named}' are not reachable in this region ('{here}')")]
    ForeignRegion { named: String, here: String },
    /// Only where the caller may not reach into other accounts; AWS says nothing more.
    #[error("")]
    ForeignAccount,
    #[error("The derived qualifier from the function name does not match the specified qualifier.")]
    ContradictingQualifier,
    #[error(
        "1 validation error detected: Value '{0}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"
    )]
    TooLong(String),
}

/// The model's NamespacedFunctionName; a test compares them.
const PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";

/// The parts of a name that fits the pattern.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    region: Option<&'a str>,
    account: Option<&'a str>,
    name: &'a str,
    qualifier: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Reads optional parts wherever they can be read, as the pattern does: a lone `…:function` is a function of that
    /// name, and so is the one of `function:$LATEST`.
    fn of(text: &'a str) -> Option<Parts<'a>> {
        let segments: Vec<&str> = text.split(':').take(9).collect();
        let segments = match segments.as_slice() {
            ["arn", partition, "lambda", rest @ ..] if is_partition(partition) => rest,
            all => all,
        };
        // Every choice of which optional parts are there, the greediest first.
        (0..8u8).rev().find_map(|taken| {
            let (region, rest) = optional(segments, taken & 4 != 0, is_region)?;
            let (account, rest) = optional(rest, taken & 2 != 0, is_account)?;
            let (_, rest) = optional(rest, taken & 1 != 0, |segment| segment == "function")?;
            match rest {
                [name] if is_name(name) => Some(Parts { region, account, name, qualifier: None }),
                [name, q] if is_name(name) && is_qualifier(q) => {
                    Some(Parts { region, account, name, qualifier: Some(q) })
                }
                _ => None,
            }
        })
    }
}

/// The first segment if it is to be taken and can be, and the others.
fn optional<'s, 'a>(
    segments: &'s [&'a str],
    taken: bool,
    fits: fn(&str) -> bool,
) -> Option<(Option<&'a str>, &'s [&'a str])> {
    match segments {
        [first, rest @ ..] if taken => fits(first).then_some((Some(*first), rest)),
        _ => (!taken).then_some((None, segments)),
    }
}

fn is_partition(segment: &str) -> bool {
    let rest = segment.strip_prefix("aws").unwrap_or(segment);
    segment.is_empty()
        || rest.len() < segment.len() && rest.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
}

/// `us-east-1`, `us-gov-west-1`, `us-isob-east-1`, `eusc-de-east-1`.
fn is_region(segment: &str) -> bool {
    let mut parts = segment.strip_prefix("eusc-").unwrap_or(segment).split('-').peekable();
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let country = parts.next().is_some_and(|part| part.len() == 2 && letters(part));
    // Of `us-gov-1` the second part is a place, of `us-gov-west-1` it is not.
    let (second, third, fourth) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let number = |part: &str| part.len() == 1 && part.bytes().all(|byte| byte.is_ascii_digit());
    let kind = second == "gov"
        || second.strip_prefix("iso").is_some_and(|tail| tail.is_empty() || tail.len() == 1 && letters(tail));
    country
        && match fourth {
            None => letters(second) && number(third),
            Some(fourth) => kind && letters(third) && number(fourth) && parts.next().is_none(),
        }
}

fn is_account(segment: &str) -> bool {
    segment.len() == 12 && segment.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_name(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_qualifier(segment: &str) -> bool {
    matches!(segment, "$LATEST" | "$LATEST.PUBLISHED") || is_plain(segment)
}

impl<'a> FunctionReference<'a> {
    pub fn parse(
        name: &'a str,
        qualifier: Option<&'a str>,
        caller: &Caller<'a>,
    ) -> Result<FunctionReference<'a>, FunctionNameError> {
        // The common case, without a look at the other forms.
        if is_plain(name) {
            return Ok(FunctionReference { region: caller.region, account: caller.account, name, qualifier });
        }
        let parts = Parts::of(name).ok_or_else(|| FunctionNameError::Malformed(name.to_owned()))?;
        let region = parts.region.unwrap_or(caller.region);
        if region != caller.region {
            return Err(FunctionNameError::ForeignRegion { named: region.to_owned(), here: caller.region.to_owned() });
        }
        if parts.qualifier.is_some() && qualifier.is_some() && parts.qualifier != qualifier {
            return Err(FunctionNameError::ContradictingQualifier);
        }
        let account = parts.account.unwrap_or(caller.account);
        Ok(FunctionReference { region, account, name: parts.name, qualifier: parts.qualifier.or(qualifier) })
    }

    /// As CreateFunction reads a name: of the caller's own account, and short.
    pub fn parse_new(name: &'a str, caller: &Caller<'a>) -> Result<FunctionReference<'a>, FunctionNameError> {
        let reference = FunctionReference::parse(name, None, caller)?;
        if reference.account != caller.account {
            return Err(FunctionNameError::ForeignAccount);
        }
        if reference.name.len() > 64 {
            return Err(FunctionNameError::TooLong(reference.name.to_owned()));
        }
        Ok(reference)
    }

    /// The function's ARN, without a qualifier.
    pub fn arn(&self) -> String {
        let FunctionReference { region, account, name, .. } = self;
        format!("arn:{}:lambda:{region}:{account}:function:{name}", Arn::partition_of(region))
    }

    /// The ARN with the given version or alias.
    pub fn arn_of(&self, qualifier: &str) -> String {
        format!("{}:{qualifier}", self.arn())
    }

    /// The ARN as the caller named it: with the qualifier if there is one.
    pub fn named_arn(&self) -> String {
        self.qualifier.map_or_else(|| self.arn(), |qualifier| self.arn_of(qualifier))
    }
}

impl From<FunctionNameError> for Fault {
    fn from(error: FunctionNameError) -> Fault {
        match &error {
            FunctionNameError::Malformed(_) => Fault::validation(error.to_string()),
            FunctionNameError::ForeignRegion { .. } => Fault::new(&RESOURCE_NOT_FOUND, error.to_string()),
            FunctionNameError::ForeignAccount => Fault::new(&ACCESS_DENIED, error.to_string()),
            FunctionNameError::ContradictingQualifier | FunctionNameError::TooLong(_) => {
                Fault::new(&INVALID_PARAMETER_VALUE, error.to_string())
            }
        }
    }
}
