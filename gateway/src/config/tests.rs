use super::*;
use clap::FromArgMatches;
use std::collections::HashMap;

impl Variables for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).map(|value| (*value).to_owned())
    }

    fn names(&self) -> Vec<String> {
        self.keys().map(|name| (*name).to_owned()).collect()
    }
}

fn resolve(flags: &[&str], variables: &[(&'static str, &'static str)]) -> Result<Config, ConfigError> {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    let matches = command.get_matches_from(std::iter::once(&"serve").chain(flags));
    let variables: HashMap<_, _> = variables.iter().copied().chain([("HOME", "/home/somebody")]).collect();
    Config::resolve(ServeArgs::from_arg_matches(&matches).unwrap(), &variables)
}

#[test]
fn an_unknown_variable_of_ours_stops_the_start() {
    let error = resolve(&[], &[("WARMPOD_LISTNE", "1")]).unwrap_err();
    assert_eq!(error.to_string(), "WARMPOD_LISTNE is not a setting of warmpod; `warmpod serve --help` lists them");
}

#[test]
fn a_value_that_cannot_be_read_stops_the_start() {
    let error = resolve(&[], &[("LAMBDA_KEEPALIVE_MS", "soon")]).unwrap_err();
    assert_eq!(error.to_string(), "LAMBDA_KEEPALIVE_MS=soon is not a whole number that fits");
    assert!(resolve(&[], &[("LAMBDA_SYNCHRONOUS_CREATE", "yes")]).is_err());
    assert!(resolve(&[], &[("LAMBDA_RETRY_BASE_DELAY", "-1")]).is_err());
    assert!(resolve(&[], &[("CONTAINER_RUNTIME", "podman")]).is_err());
}

#[test]
fn variables_of_localstack_work_unchanged() {
    let config = resolve(
        &[],
        &[
            ("LAMBDA_KEEPALIVE_MS", "0"),
            ("LAMBDA_LIMITS_CONCURRENT_EXECUTIONS", "7"),
            ("GATEWAY_LISTEN", ":4567,:443"),
            ("LAMBDA_RETRY_BASE_DELAY", "0.5"),
            ("LAMBDA_RUNTIME_EXECUTOR", "docker"),
        ],
    )
    .unwrap();
    assert_eq!(config.lambda.keepalive, Duration::ZERO);
    assert_eq!(config.lambda.concurrent_executions, 7);
    assert_eq!(config.listen, "0.0.0.0:4567".parse().unwrap());
    assert_eq!(config.lambda.retry_base, Duration::from_millis(500));
    assert_eq!(config.engine, EngineKind::Local);
    assert!(config.notes.iter().any(|note| note.contains("docker")));
}

#[test]
fn a_variable_without_effect_is_named_once() {
    let config = resolve(&[], &[("LAMBDA_PREBUILD_IMAGES", "1")]).unwrap();
    assert_eq!(config.notes, ["LAMBDA_PREBUILD_IMAGES is set and has no effect here"]);
}

#[test]
fn a_flag_wins_over_a_variable() {
    let config = resolve(&["--engine", "local", "--listen", "127.0.0.1:1"], &[("CONTAINER_RUNTIME", "kubernetes")]);
    let config = config.unwrap();
    assert_eq!((config.engine, config.listen), (EngineKind::Local, "127.0.0.1:1".parse().unwrap()));
}
