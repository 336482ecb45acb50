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
use regex::Regex;
use std::sync::LazyLock;

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

/// The same with the groups named that matter. Optional parts are taken greedily, so `…:function` is a function of that
/// name, and so is `function:$LATEST`.
static FORMS: LazyLock<Regex> = LazyLock::new(|| {
    let forms = r"\A(?:arn:(?:aws[a-zA-Z-]*)?:lambda:)?(?:(?<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-[0-9]):)?(?:(?<account>[0-9]{12}):)?(?:function:)?(?<name>[a-zA-Z0-9-_.]+)(?::(?<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?\z";
    Regex::new(forms).expect("the forms are a regex")
});

impl<'a> FunctionReference<'a> {
    pub fn parse(
        name: &'a str,
        qualifier: Option<&'a str>,
        caller: &Caller<'a>,
    ) -> Result<FunctionReference<'a>, FunctionNameError> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if plain && !name.is_empty() {
            return Ok(FunctionReference { region: caller.region, account: caller.account, name, qualifier });
        }
        let parts = FORMS.captures(name).ok_or_else(|| FunctionNameError::Malformed(name.to_owned()))?;
        let part = |group| parts.name(group).map(|part| part.as_str());
        let region = part("region").unwrap_or(caller.region);
        if region != caller.region {
            return Err(FunctionNameError::ForeignRegion { named: region.to_owned(), here: caller.region.to_owned() });
        }
        let derived = part("qualifier");
        if derived.is_some() && qualifier.is_some() && derived != qualifier {
            return Err(FunctionNameError::ContradictingQualifier);
        }
        let account = part("account").unwrap_or(caller.account);
        let name = part("name").ok_or_else(|| FunctionNameError::Malformed(name.to_owned()))?;
        Ok(FunctionReference { region, account, name, qualifier: derived.or(qualifier) })
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
