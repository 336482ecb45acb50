//! What tests/wire cannot ask botocore to send, or does not look at.

use super::*;
use crate::fault::{ACCESS_DENIED, Fault, REQUEST_ENTITY_TOO_LARGE};
use crate::model::lambda::*;
use crate::operation::Operation;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::{Value, json};

fn found(method: Method, uri: &str) -> Option<(&'static str, Labels)> {
    find(&method, &uri.parse().unwrap()).map(|(route, labels)| (route.operation, labels))
}

fn read<O: Operation>(method: Method, uri: &str, body: impl Into<Bytes>) -> Result<O::Input, Fault> {
    let uri: Uri = uri.parse().unwrap();
    let (route, labels) = find(&method, &uri).unwrap();
    assert_eq!(route.operation, O::ROUTE.operation);
    decode::<O>(&labels, uri.query(), &HeaderMap::new(), body.into())
}

fn update(body: &str) -> Result<UpdateFunctionConfigurationRequest, Fault> {
    read::<UpdateFunctionConfiguration>(Method::PUT, "/2015-03-31/functions/f/configuration", body.to_owned())
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

#[test]
fn labels_are_decoded_once() {
    let (operation, labels) = found(Method::GET, "/2015-03-31/functions/a%253Ab").unwrap();
    assert_eq!((operation, labels.get("FunctionName")), ("GetFunction", Some("a%3Ab")));
    let (_, labels) = found(Method::GET, "/2017-03-31/tags/arn:aws:lambda:us-east-1:123456789012:function:f").unwrap();
    assert_eq!(labels.get("Resource"), Some("arn:aws:lambda:us-east-1:123456789012:function:f"));
    let (operation, labels) = found(Method::GET, "/2015-03-31/functions/a%2Fb/aliases/c").unwrap();
    assert_eq!((operation, labels.get("FunctionName"), labels.get("Name")), ("GetAlias", Some("a/b"), Some("c")));
}

#[test]
fn a_slash_at_the_end_changes_nothing() {
    for path in ["/2015-03-31/functions", "/2015-03-31/functions/"] {
        assert_eq!(found(Method::GET, path).unwrap().0, "ListFunctions");
    }
    assert_eq!(found(Method::GET, "/2016-08-19/account-settings/").unwrap().0, "GetAccountSettings");
    assert_eq!(found(Method::GET, "/2015-03-31/event-source-mappings/").unwrap().0, "ListEventSourceMappings");
}

#[test]
fn the_query_tells_operations_of_one_path_apart() {
    let path = "/2019-09-30/functions/f/provisioned-concurrency";
    assert_eq!(found(Method::GET, &format!("{path}?Qualifier=1")).unwrap().0, "GetProvisionedConcurrencyConfig");
    assert_eq!(found(Method::GET, &format!("{path}?List=ALL")).unwrap().0, "ListProvisionedConcurrencyConfigs");
    assert_eq!(found(Method::GET, "/2018-10-31/layers").unwrap().0, "ListLayers");
    assert_eq!(found(Method::GET, "/2018-10-31/layers?find=LayerVersion&Arn=a").unwrap().0, "GetLayerVersionByArn");
}

#[test]
fn what_is_no_path_of_aws_is_not_found() {
    for path in
        ["/", "/2015-03-31", "/2015-03-31/functions/f/code/x", "/2015-03-31//functions", "/_warmpod/health", "*"]
    {
        assert_eq!(found(Method::GET, path), None, "{path}");
    }
    assert_eq!(found(Method::PATCH, "/2015-03-31/functions"), None);
}

#[test]
fn a_name_that_is_missing_is_an_empty_one() {
    let refusal =
        read::<GetFunctionConfiguration>(Method::GET, "/2015-03-31/functions//configuration", "").unwrap_err();
    assert!(refusal.message.contains("Value '' at 'functionName'"), "{refusal}");
}

#[test]
fn values_in_the_query_have_the_types_of_the_model() {
    let input = read::<ListFunctions>(Method::GET, "/2015-03-31/functions?MaxItems=7&Marker=a+b%2Bc%26d", "").unwrap();
    assert_eq!((input.max_items, input.marker.as_deref()), (Some(7), Some("a b+c&d")));
    let refusal = read::<ListFunctions>(Method::GET, "/2015-03-31/functions?MaxItems=many", "").unwrap_err();
    assert_eq!(refusal.to_string(), "SerializationException: STRING_VALUE can not be converted to an Integer");
    let tags = "/2017-03-31/tags/arn:aws:lambda:us-east-1:123456789012:function:f?tagKeys=a&x=y&tagKeys=b%20c";
    assert_eq!(read::<UntagResource>(Method::DELETE, tags, "").unwrap().tag_keys, ["a", "b c"]);
}

#[test]
fn a_member_of_the_path_is_not_taken_from_the_body() {
    let input = update(r#"{"FunctionName": "other", "Timeout": 5}"#).unwrap();
    assert_eq!((input.function_name.as_str(), input.timeout), ("f", Some(5)));
}

#[test]
fn null_is_absent_and_unknown_members_are_ignored() {
    let input = update(r#"{"Timeout": null, "Environment": {"Variables": null}, "Invented": [1]}"#).unwrap();
    assert_eq!((input.timeout, input.environment), (None, Some(Environment { variables: None })));
    assert_eq!(update("").unwrap().function_name, "f");
}

#[test]
fn a_fraction_is_cut_off_where_an_integer_is_meant() {
    assert_eq!(update(r#"{"Timeout": 3.9}"#).unwrap().timeout, Some(3));
    assert_eq!(update(r#"{"Timeout": 3e1}"#).unwrap().timeout, Some(30));
}

#[test]
fn variables_keep_their_order() {
    let input = update(r#"{"Environment": {"Variables": {"ZZ": "1", "AA": "2", "MM": "3"}}}"#).unwrap();
    let variables = input.environment.and_then(|environment| environment.variables).unwrap();
    assert_eq!(variables.keys().collect::<Vec<_>>(), ["ZZ", "AA", "MM"]);
}

#[test]
fn wrong_types_are_told_in_the_words_of_aws() {
    for (body, message) in [
        (r#"{"Handler": 1}"#, "NUMBER_VALUE can not be converted to a String"),
        (r#"{"Handler": true}"#, "TRUE_VALUE can not be converted to a String"),
        (r#"{"Handler": {}}"#, "Start of structure or map found where not expected."),
        (r#"{"Handler": []}"#, "Start of list found where not expected"),
        (r#"{"Timeout": "3"}"#, "STRING_VALUE can not be converted to an Integer"),
        (r#"{"Timeout": 3000000000}"#, "NUMBER_VALUE can not be converted to an Integer"),
        (r#"{"Layers": "l"}"#, "Expected list or null"),
        (r#"{"Layers": {"a": "l"}}"#, "Expected list or null"),
        (r#"{"VpcConfig": "v"}"#, "Expected null"),
        (r#"{"Environment": {"Variables": {"AA": 1}}}"#, "NUMBER_VALUE can not be converted to a String"),
        ("[]", "Start of list found where not expected"),
        ("7", "Expected null"),
    ] {
        let refusal = update(body).unwrap_err();
        assert_eq!((refusal.code.name, refusal.code.status), ("SerializationException", 400));
        assert_eq!(refusal.message, message, "{body}");
    }
}

#[test]
fn no_body_makes_it_panic() {
    let deep = "[".repeat(100_000);
    let nested = format!(r#"{{"VpcConfig": {}}}"#, r#"{"VpcConfig":"#.repeat(10_000));
    let odd: [&[u8]; 7] =
        [b"{", b"\"", b"\xff\xfe", b"{\"Timeout\": 1e999}", b"{\"Timeout\": -0.0}", deep.as_bytes(), nested.as_bytes()];
    for body in odd {
        let uri = "/2015-03-31/functions/f/configuration";
        let refusal = read::<UpdateFunctionConfiguration>(Method::PUT, uri, body.to_vec()).unwrap_err();
        assert_eq!(refusal.code.status, 400);
    }
}

#[test]
fn a_blob_that_is_not_base64_is_refused() {
    let code = |zip| {
        read::<UpdateFunctionCode>(Method::PUT, "/2015-03-31/functions/f/code", json!({"ZipFile": zip}).to_string())
    };
    assert_eq!(code("UEs=").unwrap().zip_file, Some(Bytes::from_static(b"PK")));
    assert_eq!(code("%%%").unwrap_err().code.name, "SerializationException");
}

#[test]
fn an_invocation_is_its_raw_body_and_its_headers() {
    let uri = Uri::from_static("/2015-03-31/functions/f/invocations?Qualifier=live");
    let (_, labels) = find(&Method::POST, &uri).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-invocation-type", HeaderValue::from_static("Event"));
    let input = decode::<Invoke>(&labels, uri.query(), &headers, Bytes::from_static(b"\xff not json")).unwrap();
    assert_eq!(input.invocation_type.as_deref(), Some("Event"));
    assert_eq!(input.payload, Some(Bytes::from_static(b"\xff not json")));

    headers.insert("x-amz-invocation-type", HeaderValue::from_bytes(b"Ev\xe9nt").unwrap());
    let refusal = decode::<Invoke>(&labels, uri.query(), &headers, Bytes::new()).unwrap_err();
    assert!(refusal.message.contains("at 'invocationType'"), "{refusal}");
}

#[test]
fn an_answer_says_only_what_is_set() {
    let concurrency = encode::<GetFunctionConcurrency>(&GetFunctionConcurrencyResponse::default());
    assert_eq!((concurrency.status().as_u16(), body(&concurrency)), (200, json!({})));
    let created = encode::<CreateFunction>(&FunctionConfiguration { timeout: Some(3), ..Default::default() });
    assert_eq!((created.status().as_u16(), body(&created)), (201, json!({"Timeout": 3})));
}

#[test]
fn a_deletion_answers_204_without_a_body() {
    let deleted = encode::<DeleteFunction>(&DeleteFunctionResponse::default());
    let untagged = encode::<UntagResource>(&());
    for answer in [deleted, untagged] {
        assert_eq!((answer.status().as_u16(), answer.body().len()), (204, 0));
    }
}

#[test]
fn a_header_that_http_cannot_carry_is_left_out() {
    let output =
        InvocationResponse { log_result: Some("a\nb".into()), payload: Some("{}".into()), ..Default::default() };
    let answer = encode::<Invoke>(&output);
    assert_eq!((answer.headers().get("x-amz-log-result"), answer.body().as_ref()), (None, b"{}".as_slice()));
}

#[test]
fn a_throttle_has_its_reason_and_the_time_to_wait() {
    let fault = Fault::new(&fault::TOO_MANY_REQUESTS, "Rate Exceeded.")
        .with("Reason", "ReservedFunctionConcurrentInvocationLimitExceeded")
        .with("retryAfterSeconds", "1");
    let answer = encode_fault(&fault);
    let text =
        r#"{"Type":"User","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}"#;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (429, text.as_bytes()));
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.headers()["x-amzn-errortype"], "TooManyRequestsException");
}

#[test]
fn faults_of_no_model_have_no_type() {
    for (code, status, text) in
        [(&REQUEST_ENTITY_TOO_LARGE, 413, r#"{"message":"m"}"#), (&ACCESS_DENIED, 403, r#"{"Message":"m"}"#)]
    {
        let answer = encode_fault(&Fault::new(code, "m"));
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (status, text.as_bytes()));
    }
}
