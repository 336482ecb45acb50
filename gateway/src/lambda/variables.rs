//! The environment variables of a function's processes: AWS's full set around the customer's own.
//!
//! Reserved names are ours whatever the customer set; the others of AWS's are defaults that the customer overrides. What
//! only the agent knows (the Runtime API's address) is added there.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>

use super::catalog::FunctionId;
use warmpod_protocol::model::lambda::FunctionConfiguration;

/// Names that CreateFunction and UpdateFunctionConfiguration refuse.
pub const RESERVED: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
];

/// What differs from one environment of a function version to the next.
pub struct Identity {
    pub log_stream: String,
    pub secret_access_key: String,
    pub session_token: String,
}

/// Where functions reach this endpoint.
#[derive(Clone)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// The whole list, each name once.
pub fn variables(
    function: &FunctionId,
    configuration: &FunctionConfiguration,
    identity: Identity,
    endpoint: Option<&Endpoint>,
) -> Vec<(String, String)> {
    let runtime = configuration.runtime.as_deref().unwrap_or_default();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let logging = configuration.logging_config.clone().unwrap_or_default();
    let mut ours: Vec<(&str, String)> = vec![
        ("_HANDLER", text(&configuration.handler)),
        ("AWS_DEFAULT_REGION", function.region.clone()),
        ("AWS_REGION", function.region.clone()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", configuration.memory_size.unwrap_or(128).to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", text(&configuration.version)),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", text(&logging.log_group)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", identity.log_stream),
        // An access key of twelve digits is an account: signed calls from the function stay in its own.
        ("AWS_ACCESS_KEY_ID", function.account.clone()),
        ("AWS_SECRET_ACCESS_KEY", identity.secret_access_key),
        ("AWS_SESSION_TOKEN", identity.session_token),
        ("LAMBDA_TASK_ROOT", "/var/task".into()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".into()),
        ("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1".into()),
        ("_AWS_XRAY_DAEMON_PORT", "2000".into()),
    ];
    if !runtime.starts_with("provided") && !runtime.is_empty() {
        ours.push(("AWS_EXECUTION_ENV", format!("AWS_Lambda_{runtime}")));
    }
    let mut defaults: Vec<(&str, String)> = vec![
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".into()),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000".into()),
        ("LANG", "en_US.UTF-8".into()),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin".into()),
        (
            "LD_LIBRARY_PATH",
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib".into(),
        ),
        ("TZ", ":UTC".into()),
    ];
    if runtime.starts_with("python") {
        defaults.push(("LC_CTYPE", "C.UTF-8".into()));
        defaults.push(("PYTHONPATH", "/var/runtime".into()));
    }
    if logging.log_format.as_deref() == Some("JSON") {
        defaults.push(("AWS_LAMBDA_LOG_FORMAT", "JSON".into()));
        defaults.push(("AWS_LAMBDA_LOG_LEVEL", logging.application_log_level.unwrap_or_else(|| "INFO".into())));
    }
    if let Some(Endpoint { host, port }) = endpoint {
        defaults.push(("AWS_ENDPOINT_URL", format!("http://{host}:{port}")));
        defaults.push(("LOCALSTACK_HOSTNAME", host.clone()));
        defaults.push(("EDGE_PORT", port.to_string()));
    }
    let customer = configuration.environment.as_ref().and_then(|environment| environment.variables.as_ref());
    let customer: Vec<(&str, String)> = customer
        .into_iter()
        .flatten()
        .filter(|(name, _)| !name.starts_with('_') && !RESERVED.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let overridden = |name: &str| customer.iter().any(|(own, _)| *own == name);
    defaults.retain(|(name, _)| !overridden(name));
    ours.into_iter().chain(defaults).chain(customer).map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use warmpod_protocol::model::lambda::EnvironmentResponse;

    fn made(runtime: &str, customer: &[(&str, &str)], endpoint: Option<&Endpoint>) -> HashMap<String, String> {
        let configuration = FunctionConfiguration {
            runtime: Some(runtime.into()),
            handler: Some("app.handler".into()),
            version: Some("$LATEST".into()),
            environment: Some(EnvironmentResponse {
                variables: Some(customer.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
                error: None,
            }),
            ..FunctionConfiguration::default()
        };
        let function = FunctionId {
            arn: "arn:aws:lambda:eu-west-1:123456789012:function:f".into(),
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            name: "f".into(),
        };
        let identity = Identity { log_stream: "s".into(), secret_access_key: "k".into(), session_token: "t".into() };
        let list = variables(&function, &configuration, identity, endpoint);
        let map: HashMap<_, _> = list.iter().cloned().collect();
        assert_eq!(list.len(), map.len(), "each name once");
        map
    }

    #[test]
    fn reserved_names_are_ours_and_others_the_customers() {
        let map = made("python3.12", &[("AWS_REGION", "mars"), ("TZ", "Asia/Tokyo"), ("_X", "1"), ("A", "$B")], None);
        assert_eq!(map["AWS_REGION"], "eu-west-1");
        assert_eq!(map["TZ"], "Asia/Tokyo");
        assert_eq!(map["A"], "$B");
        assert!(!map.contains_key("_X"));
    }

    #[test]
    fn execution_env_is_absent_for_provided() {
        assert!(!made("provided.al2023", &[], None).contains_key("AWS_EXECUTION_ENV"));
        assert_eq!(made("python3.12", &[], None)["AWS_EXECUTION_ENV"], "AWS_Lambda_python3.12");
    }

    #[test]
    fn the_endpoint_is_injected_unless_the_function_names_one() {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: 4566 };
        assert_eq!(made("python3.12", &[], Some(&endpoint))["AWS_ENDPOINT_URL"], "http://127.0.0.1:4566");
        let own = made("python3.12", &[("AWS_ENDPOINT_URL", "http://mine")], Some(&endpoint));
        assert_eq!(own["AWS_ENDPOINT_URL"], "http://mine");
        assert!(!made("python3.12", &[], None).contains_key("AWS_ENDPOINT_URL"));
    }
}
