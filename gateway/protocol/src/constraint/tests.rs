//! What AWS was recorded to say, word for word.

use crate::model::lambda::*;
use crate::rest_json;
use crate::shape::{Shape, Structure};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The refusal of a request, as its status, code and message; the whole way from the URI.
fn refusal<O: crate::Operation>(method: Method, uri: &str, body: Value) -> Option<String> {
    let uri: Uri = uri.parse().unwrap();
    let (route, labels) = rest_json::find(&method, &uri).unwrap();
    assert_eq!(route.operation, O::ROUTE.operation);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let fault = rest_json::decode::<O>(&labels, uri.query(), &HeaderMap::new(), body.into()).err()?;
    assert_eq!((fault.code.name, fault.code.status), ("ValidationException", 400));
    Some(fault.message)
}

fn create(change: Value) -> Option<String> {
    let mut body = json!({
        "FunctionName": "my-function", "Role": "arn:aws:iam::123456789012:role/r", "Code": {"S3Bucket": "bucket", "S3Key": "k"},
    });
    for (member, value) in change.as_object().unwrap() {
        body[member] = value.clone();
    }
    refusal::<CreateFunction>(Method::POST, "/2015-03-31/functions", body)
}

fn create_alias(routing: Value) -> Option<String> {
    let body = json!({"Name": "a", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": routing}});
    refusal::<CreateAlias>(Method::POST, "/2015-03-31/functions/f/aliases", body)
}

#[track_caller]
fn says(refusal: Option<String>, text: &str) {
    assert_eq!(refusal.as_deref(), Some(text));
}

#[test]
fn lists_are_shown_whole_and_counted() {
    says(
        create(json!({"Architectures": ["x86_64", "arm64"]})),
        "1 validation error detected: Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: \
         Member must have length less than or equal to 1",
    );
}

#[test]
fn a_bad_element_is_reported_by_its_list() {
    says(
        create(json!({"Architectures": ["X86_64"]})),
        "1 validation error detected: Value '[X86_64]' at 'architectures' failed to satisfy constraint: \
         Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]",
    );
    says(
        create(json!({"VpcConfig": {"SubnetIds": ["net-1"]}})),
        "1 validation error detected: Value '[net-1]' at 'vpcConfig.subnetIds' failed to satisfy constraint: \
         Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length \
         greater than or equal to 0, Member must satisfy regular expression pattern: subnet-[0-9a-z]*]",
    );
    says(
        create(json!({"VpcConfig": {"SecurityGroupIds": ["x"]}})),
        "1 validation error detected: Value '[x]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: \
         Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length \
         greater than or equal to 0, Member must satisfy regular expression pattern: sg-[0-9a-zA-Z]*]",
    );
    says(
        create(json!({"Layers": ["l"]})),
        "1 validation error detected: Value '[l]' at 'layers' failed to satisfy constraint: Member must satisfy \
         constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal \
         to 1, Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|\
         (-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:\
         [a-zA-Z0-9-_]+), Member must not be null]",
    );
}

#[test]
fn maps_are_reported_by_keys_and_by_values() {
    says(
        create_alias(json!({"2": 2})),
        "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy \
         constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must \
         have value greater than or equal to 0.0, Member must not be null]",
    );
    says(
        create_alias(json!({"$LATEST": 0.5})),
        "1 validation error detected: Value '{$LATEST=0.5}' at 'routingConfig.additionalVersionWeights' failed to \
         satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 1024, \
         Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]",
    );
}

#[test]
fn environment_variables_are_not_repeated() {
    says(
        create(json!({"Environment": {"Variables": {"a-b": "secret"}}})),
        "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must \
         satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
    );
    says(
        create(json!({"Environment": {"Variables": {"NAME": null}}})),
        "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map value must \
         satisfy constraint: [Member must not be null]",
    );
}

#[test]
fn what_is_missing_is_null_without_quotes() {
    let tags = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af";
    says(
        refusal::<UntagResource>(Method::DELETE, tags, Value::Null),
        "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null",
    );
    says(
        create(json!({"Role": null, "Code": null})),
        "2 validation errors detected: Value null at 'role' failed to satisfy constraint: Member must not be null; \
         Value null at 'code' failed to satisfy constraint: Member must not be null",
    );
}

#[test]
fn numbers_keep_to_the_documented_ranges() {
    for (member, value, bound) in [
        ("Timeout", 901, "less than or equal to 900"),
        ("Timeout", 0, "greater than or equal to 1"),
        ("MemorySize", 127, "greater than or equal to 128"),
        ("MemorySize", 10241, "less than or equal to 10240"),
    ] {
        let name = if member == "Timeout" { "timeout" } else { "memorySize" };
        says(
            create(json!({member: value})),
            &format!(
                "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have value {bound}"
            ),
        );
    }
    says(
        create(json!({"EphemeralStorage": {"Size": 511}})),
        "1 validation error detected: Value '511' at 'ephemeralStorage.size' failed to satisfy constraint: Member must \
         have value greater than or equal to 512",
    );
    assert_eq!(create(json!({"Timeout": 900, "MemorySize": 10240, "EphemeralStorage": {"Size": 10240}})), None);
}

#[test]
fn enumerations_are_printed_in_the_order_of_aws() {
    says(
        create(json!({"SnapStart": {"ApplyOn": "Always"}})),
        "1 validation error detected: Value 'Always' at 'snapStart.applyOn' failed to satisfy constraint: Member must \
         satisfy enum value set: [PublishedVersions, None]",
    );
    says(
        refusal::<ListFunctions>(Method::GET, "/2015-03-31/functions?FunctionVersion=invalid", Value::Null),
        "1 validation error detected: Value 'invalid' at 'functionVersion' failed to satisfy constraint: Member must \
         satisfy enum value set: [ALL]",
    );
}

#[test]
fn only_the_first_letter_of_a_name_is_lowered() {
    says(
        create(json!({"KMSKeyArn": "key"})),
        "1 validation error detected: Value 'key' at 'kMSKeyArn' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: (arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()",
    );
}

#[test]
fn structures_in_a_list_are_reported_one_by_one_and_shown_as_java_does() {
    let arn = "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-0123456789abcdef0";
    says(
        create(json!({"FileSystemConfigs": [{"Arn": arn, "LocalMountPath": "/tmp"}]})),
        "1 validation error detected: Value '/tmp' at 'fileSystemConfigs.1.member.localMountPath' failed to satisfy \
         constraint: Member must satisfy regular expression pattern: /mnt/[a-zA-Z0-9-_.]+",
    );
    let one = json!({"Arn": arn, "LocalMountPath": "/mnt/a"});
    let shown = format!("FileSystemConfig(arn={arn}, localMountPath=/mnt/a, s3FilesConfig=null)");
    says(
        create(json!({"FileSystemConfigs": [one, one]})),
        &format!(
            "1 validation error detected: Value '[{shown}, {shown}]' at 'fileSystemConfigs' failed to satisfy \
             constraint: Member must have length less than or equal to 1"
        ),
    );
}

#[test]
fn runtimes_are_the_services_own_check() {
    assert_eq!(create(json!({"Runtime": "cobol74"})), None);
    assert_eq!(RUNTIMES.first(), Some(&"nodejs20.x"));
}

#[test]
fn patterns_with_look_around_keep_their_meaning() {
    let alias = |name| {
        let body = json!({"Name": name, "FunctionVersion": "1"});
        refusal::<CreateAlias>(Method::POST, "/2015-03-31/functions/f/aliases", body).is_none()
    };
    for (name, good) in
        [("live", true), ("1a", true), ("a1", true), ("-", true), ("12", false), ("1", false), ("a!", false)]
    {
        assert_eq!(alias(name), good, "{name}");
    }
    let bucket = |name| create(json!({"Code": {"S3Bucket": name, "S3Key": "k"}})).is_none();
    for (name, good) in [("a.b", true), ("abc", true), ("ab.", false), ("...", false), ("a b", false)] {
        assert_eq!(bucket(name), good, "{name}");
    }
}

#[test]
fn java_classes_are_ascii() {
    assert_eq!(create(json!({"Handler": "a\u{a0}b"})), None);
    assert!(create(json!({"Handler": "a b"})).is_some());
    assert!(create(json!({"Role": "arn:aws:iam::１２３４５６７８９０１２:role/r"})).is_some());
}

#[test]
fn lengths_count_characters() {
    assert_eq!(create(json!({"Description": "ü".repeat(256)})), None);
    assert!(create(json!({"Description": "ü".repeat(257)})).is_some());
}

#[test]
fn a_hostile_value_comes_back_cut() {
    let message = create(json!({"Description": "ü".repeat(1_000_000)})).unwrap();
    assert!(message.len() < 70_000, "{}", message.len());
}

#[test]
fn every_pattern_compiles() {
    fn walk(structure: &'static Structure, seen: &mut HashSet<*const Structure>) {
        if seen.insert(structure) {
            structure.members.iter().for_each(|member| visit(member.shape, seen));
        }
    }
    fn visit(shape: Shape, seen: &mut HashSet<*const Structure>) {
        match shape {
            Shape::String(text) => drop(text.pattern.as_ref().map(|pattern| pattern.regex.is_match(""))),
            Shape::List(list) => visit(list.element, seen),
            Shape::Map(map) => [Shape::String(map.key), map.value].into_iter().for_each(|shape| visit(shape, seen)),
            Shape::Structure(structure) => walk(structure, seen),
            _ => {}
        }
    }
    let mut seen = HashSet::new();
    INPUTS.iter().for_each(|input| walk(input, &mut seen));
    assert!(seen.len() > INPUTS.len());
}
