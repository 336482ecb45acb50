//! The matrix of recorded answers: each form of a name in each of four calls, refused by the model or read here.

use super::*;
use crate::model::lambda::*;
use crate::shape::Shape;
use crate::{Operation, rest_json};
use http::{HeaderMap, Method, Uri};
use serde_json::json;

const CALLER: Caller<'static> =
    Caller { access_key: None, account: "000000000000", region: "us-east-1", service: Some("lambda") };
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:my-function";

/// What a call with such a name and qualifier gets before a function is looked for: the ARN that it means, or the
/// refusal. CreateFunction has no qualifier; the recordings append it to the name.
struct Row {
    name: String,
    qualifier: Option<String>,
}

fn row(name: impl Into<String>, qualifier: Option<&str>) -> Row {
    Row { name: name.into(), qualifier: qualifier.map(str::to_owned) }
}

impl Row {
    fn create(&self) -> Result<String, Fault> {
        let name = self.qualifier.as_ref().map_or_else(|| self.name.clone(), |q| format!("{}:{q}", self.name));
        let body = json!({"FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r", "Code": {}}).to_string();
        let (_, labels) = rest_json::find(&Method::POST, &Uri::from_static("/2015-03-31/functions")).unwrap();
        let input = rest_json::decode::<CreateFunction>(&labels, None, &HeaderMap::new(), body.into())?;
        Ok(FunctionReference::parse_new(&input.function_name, &CALLER)?.arn())
    }

    /// Delete, get and invoke read the same shapes; each is asked, and they must agree.
    fn others(&self) -> Result<String, Fault> {
        let delete = self.other::<DeleteFunction>(Method::DELETE, "", |i| (i.function_name, i.qualifier));
        let get = self.other::<GetFunction>(Method::GET, "", |i| (i.function_name, i.qualifier));
        let invoke = self.other::<Invoke>(Method::POST, "/invocations", |i| (i.function_name, i.qualifier));
        let text = |answer: &Result<String, Fault>| answer.as_ref().map_or_else(Fault::to_string, String::clone);
        assert_eq!(text(&delete), text(&get));
        assert_eq!(text(&get), text(&invoke));
        invoke
    }

    fn other<O: Operation>(
        &self,
        method: Method,
        tail: &str,
        parts: fn(O::Input) -> (String, Option<String>),
    ) -> Result<String, Fault> {
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let query = self.qualifier.as_deref().map(|q| format!("?Qualifier={}", encode(q))).unwrap_or_default();
        let uri: Uri = format!("/2015-03-31/functions/{}{tail}{query}", encode(&self.name)).parse().unwrap();
        let (_, labels) = rest_json::find(&method, &uri).unwrap();
        let (name, qualifier) =
            parts(rest_json::decode::<O>(&labels, uri.query(), &HeaderMap::new(), Default::default())?);
        Ok(FunctionReference::parse(&name, qualifier.as_deref(), &CALLER)?.named_arn())
    }
}

#[track_caller]
fn means(answer: Result<String, Fault>, arn: impl AsRef<str>) {
    assert_eq!(answer.unwrap(), arn.as_ref());
}

/// A ValidationException with a part of each of these, and no others.
#[track_caller]
fn invalid(answer: Result<String, Fault>, parts: &[&str]) {
    let fault = answer.unwrap_err();
    assert_eq!(fault.code.name, "ValidationException", "{fault}");
    let count = if parts.len() == 1 { "1 validation error detected: " } else { "2 validation errors detected: " };
    assert!(fault.message.starts_with(count), "{fault}");
    parts.iter().for_each(|part| assert!(fault.message.contains(part), "{fault}"));
}

#[track_caller]
fn refused(answer: Result<String, Fault>, code: &str, message: &str) {
    let fault = answer.unwrap_err();
    assert_eq!((fault.code.name, fault.message.as_str()), (code, message));
}

const NAME_PATTERN: &str =
    "at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:";
const NAME_140: &str =
    "at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 140";
const QUALIFIER_128: &str =
    "at 'qualifier' failed to satisfy constraint: Member must have length less than or equal to 128";
const QUALIFIER_PATTERN: &str = "at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: \
                                 \\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

#[test]
fn name_of_65_characters() {
    let name = "x".repeat(65);
    let row = row(&name, None);
    let text = format!(
        "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: \
         Member must have length less than or equal to 64"
    );
    refused(row.create(), "InvalidParameterValueException", &text);
    means(row.others(), ARN.replace("my-function", &name));
}

#[test]
fn qualifier_of_129_characters() {
    let row = row("my-function", Some(&"q".repeat(129)));
    invalid(row.create(), &[NAME_140]);
    invalid(row.others(), &[QUALIFIER_128]);
}

#[test]
fn qualifier_of_65_characters() {
    let qualifier = "q".repeat(65);
    means(row("my-function", Some(&qualifier)).others(), format!("{ARN}:{qualifier}"));
}

#[test]
fn what_is_no_name() {
    for name in [
        "my-function!",
        "*",
        "arn:aws:lambda:invalid-region:000000000000:function:my-function",
        "arn:aws:lambda::000000000000:function:my-function",
        "arn:aws:lambda:us-east-1::function:my-function",
        "arn:aws:ec2:us-east-1:000000000000:instance:i-1",
        "invalid-account:function:my-function",
        "arn:aws:lambda:us-east-1:000000000000:function:my-function:1:2",
        "arn:aws:lambda:us-east-1:000000000000:function:my-function:$LATES",
        "function:my-function:$LATEST:extra",
    ] {
        let row = row(name, None);
        invalid(row.create(), &[NAME_PATTERN]);
        invalid(row.others(), &[NAME_PATTERN]);
    }
}

#[test]
fn qualifier_with_odd_characters() {
    let row = row("my-function", Some("invalid!"));
    invalid(row.create(), &[NAME_PATTERN]);
    invalid(row.others(), &[QUALIFIER_PATTERN]);
}

#[test]
fn long_arn_of_a_bad_region() {
    let arn = format!("arn:aws:lambda:invalid-region:000000000000:function:{}", "x".repeat(100));
    invalid(row(&arn, Some(&"q".repeat(129))).create(), &[NAME_140, NAME_PATTERN]);
    invalid(row(&arn, Some(&"q".repeat(129))).others(), &[QUALIFIER_128, NAME_PATTERN]);
    invalid(row(&arn, None).create(), &[NAME_140, NAME_PATTERN]);
    invalid(row(&arn, None).others(), &[NAME_PATTERN]);
}

#[test]
fn incomplete_arn_is_a_function_named_function() {
    let row = row("arn:aws:lambda:us-east-1:000000000000:function", None);
    means(row.create(), ARN.replace("my-function", "function"));
    means(row.others(), ARN.replace("my-function", "function"));
}

#[test]
fn qualifiers_that_contradict() {
    let row = row("my-function:$LATEST", Some("1"));
    invalid(row.create(), &[NAME_PATTERN]);
    let text = "The derived qualifier from the function name does not match the specified qualifier.";
    refused(row.others(), "InvalidParameterValueException", text);
}

#[test]
fn lower_case_latest_is_a_qualifier_like_any_other() {
    let row = row("my-function", Some("$latest"));
    invalid(row.create(), &[NAME_PATTERN]);
    means(row.others(), format!("{ARN}:$latest"));
}

#[test]
fn every_accepted_form_means_the_function() {
    for name in [
        "my-function",
        "function:my-function",
        "000000000000:function:my-function",
        "us-east-1:000000000000:function:my-function",
        ARN,
    ] {
        means(row(name, None).create(), ARN);
        means(row(name, None).others(), ARN);
        means(row(name, Some("live")).others(), format!("{ARN}:live"));
        means(row(format!("{name}:live"), None).others(), format!("{ARN}:live"));
        means(row(format!("{name}:live"), Some("live")).others(), format!("{ARN}:live"));
        means(row(format!("{name}:$LATEST"), None).others(), format!("{ARN}:$LATEST"));
    }
    means(row("function:$LATEST", None).others(), ARN.replace("my-function", "function") + ":$LATEST");
}

#[test]
fn functions_of_another_region_are_out_of_reach() {
    let row = row(ARN.replace("us-east-1", "us-west-2"), None);
    let text = "Functions from 'us-west-2' are not reachable in this region ('us-east-1')";
    refused(row.create(), "ResourceNotFoundException", text);
    refused(row.others(), "ResourceNotFoundException", text);
}

#[test]
fn another_account_is_reached_but_not_created_in() {
    let arn = ARN.replace("000000000000", "123456789012");
    refused(row(&arn, None).create(), "AccessDeniedException", "");
    means(row(&arn, None).others(), &arn);
}

#[test]
fn a_foreign_region_is_told_before_a_contradiction() {
    let row = row(ARN.replace("us-east-1", "us-west-2") + ":1", Some("2"));
    assert_eq!(row.others().unwrap_err().code.name, "ResourceNotFoundException");
}

#[test]
fn the_pattern_printed_is_the_models() {
    let name = GetFunction::input().members.iter().find(|member| member.name == "FunctionName").unwrap();
    let Shape::String(text) = name.shape else { panic!("a name is a string") };
    assert_eq!(text.pattern.as_ref().unwrap().printed, PATTERN);
    assert_eq!(FunctionReference::parse("a!", None, &CALLER), Err(FunctionNameError::Malformed("a!".to_owned())));
}

/// Read exactly as the model's pattern reads them: all names of up to five segments, plain and after an ARN's beginning,
/// and every kind of region.
#[test]
fn names_are_read_as_the_pattern_reads_them() {
    const REGION: &str = r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?";
    const QUALIFIER: &str = r"(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
    let named = PATTERN
        .replacen(REGION, "(?:(?<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-[0-9]):)?", 1)
        .replacen(r"(\d{12}:)?", "(?:(?<account>[0-9]{12}):)?", 1)
        .replacen(r"([a-zA-Z0-9-_\.]+)", "(?<name>[a-zA-Z0-9-_.]+)", 1)
        .replacen(QUALIFIER, r"(?::(?<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?", 1);
    let pattern = crate::constraint::compile(&named);

    let segments = ["", "function", "us-east-1", "123456789012", "f", "a.b", "$LATEST", "a!"];
    let mut names: Vec<String> = segments.map(str::to_owned).to_vec();
    let mut longest = names.clone();
    for _ in 1..5 {
        longest = longest.iter().flat_map(|name| segments.map(|segment| format!("{name}:{segment}"))).collect();
        names.extend_from_slice(&longest);
    }
    names.extend(
        ["$LATEST.PUBLISHED", "$latest", "$LATES", "12345678901", "1234567890123"]
            .map(|tail| format!("{tail}:f:{tail}")),
    );
    for country in ["us", "u", "usa", "U1", "eusc-de", "eusc-"] {
        for kind in ["", "-gov", "-iso", "-isob", "-isobb", "-govx"] {
            names.extend(
                ["-east-1", "-1", "-east-11", "-east", "-east-x", "-north-east-1", "--1"]
                    .map(|rest| format!("{country}{kind}{rest}:f")),
            );
        }
    }
    let beginnings = ["", "arn:aws:lambda:", "arn:aws-cn:lambda:", "arn::lambda:", "arn:azure:lambda:", "arn:aws:s3:"];
    let mut read = 0;
    for name in names.iter().flat_map(|name| beginnings.map(|beginning| format!("{beginning}{name}"))) {
        let wanted = pattern.captures(&name).map(|captures| {
            let part = |group| captures.name(group).map(|part| part.as_str());
            let name = part("name").unwrap();
            Parts { region: part("region"), account: part("account"), name, qualifier: part("qualifier") }
        });
        read += usize::from(wanted.is_some());
        assert_eq!(Parts::of(&name), wanted, "{name}");
    }
    assert!(read > 500, "{read}");
}
