//! The variables that users of LocalStack set for these services: each works, or is named once in the log as having no
//! effect here. One table says which.

use super::{ConfigError, EngineKind, LambdaConfig, Variables};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A variable, its default in LocalStack's terms, and what it does here; `None`: no effect, said at start.
pub struct Variable {
    pub name: &'static str,
    pub default: &'static str,
    pub effect: Option<&'static str>,
}

const fn works(name: &'static str, default: &'static str, effect: &'static str) -> Variable {
    Variable { name, default, effect: Some(effect) }
}

const fn ignored(name: &'static str) -> Variable {
    Variable { name, default: "", effect: None }
}

pub const VARIABLES: &[Variable] = &[
    works("LAMBDA_RUNTIME_EXECUTOR", "= CONTAINER_RUNTIME", "`docker`, `local`: the local engine; `kubernetes`: pods"),
    works("CONTAINER_RUNTIME", "docker", "the same for every service that has no variable of its own"),
    works("GATEWAY_LISTEN", "127.0.0.1:4566", "address of the endpoint, `HOST:PORT` or `:PORT`"),
    works("LAMBDA_KEEPALIVE_MS", "600000", "how long an idle environment is kept, milliseconds; 0: one use"),
    works("LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT", "20", "how long an invocation waits for an environment, seconds"),
    works("LAMBDA_SYNCHRONOUS_CREATE", "0", "1: CreateFunction answers when the function is Active"),
    works("LAMBDA_DISABLE_AWS_ENDPOINT_URL", "0", "1: functions get no `AWS_ENDPOINT_URL`"),
    works("LAMBDA_RUNTIME_VALIDATION", "0", "1: deprecated runtimes are refused, as on AWS"),
    works("LAMBDA_LIMITS_CONCURRENT_EXECUTIONS", "1000", "concurrent invocations of an account in a region"),
    works("LAMBDA_LIMITS_MINIMUM_UNRESERVED_CONCURRENCY", "100", "what reservations must leave"),
    works("LAMBDA_LIMITS_TOTAL_CODE_SIZE", "80530636800", "all code of an account in a region, bytes"),
    works("LAMBDA_LIMITS_CODE_SIZE_ZIPPED", "52428800", "a package in a request, bytes"),
    works("LAMBDA_LIMITS_CODE_SIZE_UNZIPPED", "262144000", "an unpacked package, bytes"),
    works("LAMBDA_LIMITS_CREATE_FUNCTION_REQUEST_SIZE", "70167211", "a whole CreateFunction request, bytes"),
    works("LAMBDA_LIMITS_MAX_FUNCTION_ENVVAR_SIZE_BYTES", "4096", "all variables of a function as JSON, bytes"),
    works("LAMBDA_LIMITS_MAX_FUNCTION_PAYLOAD_SIZE_BYTES", "6291556", "a function's answer, bytes"),
    works(
        "LAMBDA_RETRY_BASE_DELAY",
        "60",
        "wait before the first retry of an event, seconds; the second waits twice as long",
    ),
    works("LAMBDA_RETRY_BASE_DELAY_SECONDS", "60", "the same"),
    works("LAMBDA_TRUNCATE_STDOUT", "2000", "characters of a function's line in the gateway's own log"),
    works("LAMBDA_DOCKER_DNS", "", "DNS server of the functions"),
    works("HOSTNAME_FROM_LAMBDA", "", "host name by which functions reach the gateway"),
    ignored("LAMBDA_REMOVE_CONTAINERS"),
    ignored("LAMBDA_PREBUILD_IMAGES"),
    ignored("LAMBDA_IGNORE_ARCHITECTURE"),
    ignored("LAMBDA_RUNTIME_IMAGE_MAPPING"),
    ignored("LAMBDA_DOCKER_NETWORK"),
    ignored("LAMBDA_DOCKER_FLAGS"),
    ignored("LOCALSTACK_HOST"),
    ignored("BUCKET_MARKER_LOCAL"),
    ignored("LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC"),
    ignored("LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_ERROR_SEC"),
    ignored("LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC"),
    ignored("LAMBDA_DEBUG_MODE"),
    ignored("LAMBDA_DEBUG_MODE_CONFIG_PATH"),
    ignored("LAMBDA_DEV_PORT_EXPOSE"),
    ignored("LAMBDA_INIT_RELEASE_VERSION"),
    ignored("LAMBDA_INIT_DEBUG"),
    ignored("LAMBDA_INIT_BIN_PATH"),
    ignored("LAMBDA_INIT_BOOTSTRAP_PATH"),
    ignored("LAMBDA_INIT_DELVE_PATH"),
    ignored("LAMBDA_INIT_DELVE_PORT"),
    ignored("LAMBDA_INIT_USER"),
    ignored("LAMBDA_INIT_POST_INVOKE_WAIT_MS"),
    ignored("LAMBDA_JAVA_OPTS"),
    ignored("LAMBDA_DOWNLOAD_AWS_LAYERS"),
    ignored("LAMBDA_DISABLE_JAVA_SDK_V2_CERTIFICATE_VALIDATION"),
    ignored("LAMBDA_K8S_IMAGE_PREFIX"),
    ignored("LAMBDA_K8S_INIT_IMAGE"),
    ignored("LAMBDA_K8S_LABELS"),
    ignored("LOCALSTACK_K8S_NAMESPACE"),
    ignored("LOCALSTACK_K8S_LABELS"),
    ignored("LOCALSTACK_K8S_ANNOTATIONS"),
    ignored("LOCALSTACK_K8S_POD_CONFIG"),
    ignored("K8S_CONTAINER_SECURITY_CONTEXT"),
    ignored("K8S_CURL_INIT_IMAGE"),
    ignored("K8S_WAIT_FOR_POD_READY_TIMEOUT"),
    ignored("K8S_WAIT_FOR_DEPLOYMENT_READY_TIMEOUT"),
    ignored("K8S_WAIT_FOR_SERVICE_READY_TIMEOUT"),
    ignored("LAMBDA_EXECUTOR"),
    ignored("LAMBDA_STAY_OPEN_MODE"),
    ignored("LAMBDA_REMOTE_DOCKER"),
    ignored("LAMBDA_CODE_EXTRACT_TIME"),
    ignored("LAMBDA_CONTAINER_REGISTRY"),
    ignored("LAMBDA_FALLBACK_URL"),
    ignored("LAMBDA_FORWARD_URL"),
    ignored("LAMBDA_XRAY_INIT"),
    ignored("LAMBDA_EVENTS_INTERNAL_SQS"),
    ignored("LAMBDA_EVENT_SOURCE_MAPPING"),
    ignored("LAMBDA_SQS_EVENT_SOURCE_MAPPING_INTERVAL_SEC"),
    ignored("PERSISTENCE"),
    ignored("LOCALSTACK_AUTH_TOKEN"),
];

pub struct Reader<'a>(&'a dyn Variables);

impl<'a> Reader<'a> {
    pub fn new(variables: &'a dyn Variables) -> Self {
        Self(variables)
    }

    /// A variable's value; an empty one counts as not set, as in LocalStack.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty())
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, expected: &'static str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.trim().parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(ConfigError::Value { name: name.into(), value, expected }),
        }
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, ConfigError> {
        Ok(self.parsed(name, "a whole number that fits")?.unwrap_or(default))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        let seconds: Option<f64> = self.parsed(name, "a number of seconds")?;
        let duration = seconds.map(Duration::try_from_secs_f64).transpose();
        duration.map_err(|_| ConfigError::Value {
            name: name.into(),
            value: self.get(name).unwrap_or_default(),
            expected: "a number of seconds",
        })
    }

    fn switch(&self, name: &str) -> Result<bool, ConfigError> {
        match self.get(name).map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(value) => {
                Err(ConfigError::Value { name: name.into(), value: value.into(), expected: "0, 1, true or false" })
            }
        }
    }

    pub fn engine(&self, own: &str) -> Result<EngineKind, ConfigError> {
        let (name, value) = match self.get(own) {
            Some(value) => (own, value),
            None => ("CONTAINER_RUNTIME", self.get("CONTAINER_RUNTIME").unwrap_or_else(|| "docker".into())),
        };
        match value.as_str() {
            "docker" | "local" => Ok(EngineKind::Local),
            "kubernetes" => Ok(EngineKind::Kubernetes),
            _ => Err(ConfigError::Value { name: name.into(), value, expected: "docker, local or kubernetes" }),
        }
    }

    pub fn listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(value) = self.get("GATEWAY_LISTEN") else { return Ok(None) };
        // LocalStack takes a list; the first address is the endpoint.
        let first = value.split(',').next().unwrap_or_default().trim();
        let full = match first.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => first.to_owned(),
        };
        match full.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(ConfigError::Value { name: "GATEWAY_LISTEN".into(), value, expected: "HOST:PORT or :PORT" }),
        }
    }

    pub fn lambda(&self) -> Result<LambdaConfig, ConfigError> {
        let retry = match self.seconds("LAMBDA_RETRY_BASE_DELAY")? {
            Some(delay) => Some(delay),
            None => self.seconds("LAMBDA_RETRY_BASE_DELAY_SECONDS")?,
        };
        let dns: Option<IpAddr> = self.parsed("LAMBDA_DOCKER_DNS", "an IP address")?;
        Ok(LambdaConfig {
            keepalive: Duration::from_millis(self.number("LAMBDA_KEEPALIVE_MS", 600_000)?),
            environment_timeout: self.seconds("LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT")?.unwrap_or(Duration::from_secs(20)),
            synchronous_create: self.switch("LAMBDA_SYNCHRONOUS_CREATE")?,
            inject_endpoint: !self.switch("LAMBDA_DISABLE_AWS_ENDPOINT_URL")?,
            validate_runtimes: self.switch("LAMBDA_RUNTIME_VALIDATION")?,
            concurrent_executions: self.number("LAMBDA_LIMITS_CONCURRENT_EXECUTIONS", 1000)?,
            minimum_unreserved: self.number("LAMBDA_LIMITS_MINIMUM_UNRESERVED_CONCURRENCY", 100)?,
            total_code_size: self.number("LAMBDA_LIMITS_TOTAL_CODE_SIZE", 80_530_636_800)?,
            code_size_zipped: self.number("LAMBDA_LIMITS_CODE_SIZE_ZIPPED", 52_428_800)?,
            code_size_unzipped: self.number("LAMBDA_LIMITS_CODE_SIZE_UNZIPPED", 262_144_000)?,
            create_request_size: self.number("LAMBDA_LIMITS_CREATE_FUNCTION_REQUEST_SIZE", 70_167_211)?,
            environment_size: self.number("LAMBDA_LIMITS_MAX_FUNCTION_ENVVAR_SIZE_BYTES", 4096)?,
            response_size: self.number("LAMBDA_LIMITS_MAX_FUNCTION_PAYLOAD_SIZE_BYTES", 6_291_556)?,
            retry_base: retry.unwrap_or(Duration::from_secs(60)),
            truncate_output: self.number("LAMBDA_TRUNCATE_STDOUT", 2000)?,
            dns,
            gateway_host: self.get("HOSTNAME_FROM_LAMBDA"),
        })
    }

    /// One line for each variable that is set and has no effect.
    pub fn notes(&self) -> Vec<String> {
        VARIABLES
            .iter()
            .filter(|variable| variable.effect.is_none() && self.get(variable.name).is_some())
            .map(|variable| format!("{} is set and has no effect here", variable.name))
            .collect()
    }
}
