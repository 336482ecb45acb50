//! Python functions, through AWS's own runtime interface client: fresh, warm, and against AWS's own way to start it.

use crate::gateway::{Answer, Gateway, claim, code};
use crate::python_library::{library, python};
use serde_json::Value;
use std::collections::BTreeSet;
use tempfile::TempDir;
use warmpod_link::Claim;
use warmpod_link::control::{Code, InitOutcome, LogFormat};
use warmpod_link::frame::Kind;
use warmpod_link::worker::RuntimeSpec;

/// A claimed function, and its code's folder.
fn function(runtime: RuntimeSpec, files: &[(&str, &str)], change: impl FnOnce(&mut Claim)) -> (Gateway, TempDir) {
    let code = code(files);
    let mut gateway = Gateway::start(runtime);
    let mut claim = claim(code.path(), "app.handler");
    change(&mut claim);
    gateway.claim_well(claim);
    (gateway, code)
}

fn set(claim: &mut Claim, name: &str, value: &str) {
    claim.variables.retain(|(other, _)| other != name);
    claim.variables.push((name.to_owned(), value.to_owned()));
}

#[test]
fn a_function_is_claimed_and_invoked_fresh_and_warm() {
    const HELLO: &str = "
import logging
def handler(event, context):
    print('printed', event['name'])
    logging.getLogger().warning('logged\\ntwice')
    return {'hello': event['name'], 'arn': context.invoked_function_arn[-1]}
";
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let (mut gateway, _code) = function(runtime, &[("app.py", HELLO)], |_| {});
        let answer = gateway.invoke(br#"{"name": "a"}"#);
        assert_eq!((answer.kind, answer.text()), (Kind::Response, r#"{"hello": "a", "arn": "f"}"#));
        let answer = gateway.invoke_with_tail(br#"{"name": "b"}"#);
        assert!(answer.tail.contains("printed b\n") && answer.tail.contains("logged\ntwice\n"), "{}", answer.tail);
    }
}

/// Everything that a function can see of its interpreter.
const PROBE: &str = r#"
import sys
modules_at_import = sorted(sys.modules)
import builtins, atexit, gc, locale, logging, os, resource, signal, socket, threading, time, traceback, warnings

def probe():
    main = sys.modules['__main__']
    return {
        'environment': dict(os.environ),
        'path': sys.path,
        'argv': sys.argv,
        'cwd': os.getcwd(),
        'main': sorted(vars(main)),
        'main_name': main.__name__,
        'main_file': main.__file__,
        'stack': [[frame.filename, frame.name] for frame in traceback.extract_stack()],
        'umask': os.umask(0o22),
        'signals': [str(signal.getsignal(number)) for number in range(1, 32)],
        'blocked': [str(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        'handlers': [type(handler).__name__ for handler in logging.getLogger().handlers],
        'level': logging.getLogger().level,
        'threads': threading.active_count(),
        'descriptors': sorted(map(int, os.listdir('/proc/self/fd')))[:-1],
        'locale': [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), sys.getfilesystemencoding()],
        'streams': [sys.stdout.encoding, sys.stderr.encoding, sys.stdout.errors, sys.stdin.encoding],
        'zone': time.tzname,
        'flags': str(sys.flags),
        'path_hooks': len(sys.path_hooks),
        'gc': [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        'timeout': socket.getdefaulttimeout(),
        'hooks': [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
        'builtins': sorted(vars(builtins)),
        'limits': [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith('RLIMIT')],
        'group': [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()],
    }

def handler(event, context):
    seen = probe()
    import boto3, random, tempfile
    seen['default session'] = repr(boto3.DEFAULT_SESSION)
    seen['tempdir'] = repr(tempfile.tempdir)
    client = boto3.client('s3')
    seen['credentials'] = list(boto3.DEFAULT_SESSION.get_credentials().get_frozen_credentials())
    seen['client'] = [client.meta.region_name, client.meta.endpoint_url, sorted(dir(client))]
    seen['paths of models'] = boto3.DEFAULT_SESSION._loader.search_paths
    # These grow with imports: by now both have imported the same.
    seen['warnings'] = sorted(str(each) for each in warnings.filters)
    seen['atexit'] = atexit._ncallbacks()
    seen['importers'] = sorted(sys.path_importer_cache)
    seen['meta_path'] = sorted(getattr(finder, '__name__', type(finder).__name__) for finder in sys.meta_path)
    seen['loggers'] = sorted(logging.root.manager.loggerDict)
    return {'seen': seen, 'modules': sorted(sys.modules), 'modules_at_import': modules_at_import}
"#;

#[test]
fn a_claimed_warm_interpreter_is_as_a_fresh_one() {
    let seen = |warm| {
        let (mut gateway, code) = function(python(warm)?, &[("app.py", PROBE)], |claim| {
            set(claim, "OF_THE_FUNCTION", "1");
            set(claim, "TZ", "America/New_York");
        });
        let answer = gateway.invoke(b"{}");
        assert_eq!(answer.kind, Kind::Response, "{}", answer.text());
        let folder = code.path().to_str().unwrap().to_owned();
        let port = answer.json()["seen"]["environment"]["AWS_LAMBDA_RUNTIME_API"].as_str().unwrap().to_owned();
        let text = answer.text().replace(&folder, "CODE").replace(&port, "API");
        Some(serde_json::from_str::<Value>(&text).unwrap())
    };
    let (Some(fresh), Some(warm)) = (seen(false), seen(true)) else { return };
    for (name, value) in fresh["seen"].as_object().unwrap() {
        assert_eq!(value, &warm["seen"][name], "{name}");
    }
    assert_eq!(warm["seen"]["zone"], serde_json::json!(["EST", "EDT"]));
    assert_eq!(warm["seen"]["credentials"][0], "AKIDOFTHEFUNCTION");
    let modules = |of: &Value, name: &str| -> BTreeSet<String> {
        of[name].as_array().unwrap().iter().map(|module| module.as_str().unwrap().to_owned()).collect()
    };
    // Once both have the SDK and a client, they have the same modules.
    assert_eq!(modules(&fresh, "modules"), modules(&warm, "modules"));
    // Before, the warm one has only what the SDK brings.
    let early: BTreeSet<String> =
        modules(&warm, "modules_at_import").difference(&modules(&fresh, "modules")).cloned().collect();
    assert_eq!(early, BTreeSet::new());
}

#[test]
fn nothing_of_the_agents_own_environment_reaches_a_function() {
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let app = "import os\ndef handler(event, context):\n    return [dict(os.environ), open('/proc/self/environ').read()]\n";
        let mut given = BTreeSet::new();
        let (mut gateway, _code) = function(runtime, &[("app.py", app)], |claim| {
            given = claim.variables.iter().map(|(name, _)| name.clone()).collect();
        });
        let answer = gateway.invoke(b"{}");
        let answer = answer.json();
        let seen: BTreeSet<String> = answer[0].as_object().unwrap().keys().cloned().collect();
        let more: Vec<&String> = seen.difference(&given).collect();
        assert_eq!(more, ["AWS_LAMBDA_RUNTIME_API"]);
        assert!(!answer[1].as_str().unwrap().contains("SECRET_OF_THE_GATEWAY"));
    }
}

/// AWS's own way to start the client, as a bootstrap of one's own.
fn plain_client(files: &[(&str, &str)], handler: &str) -> Option<(Gateway, InitOutcome, TempDir)> {
    let (interpreter, library) = library()?;
    let bootstrap = format!(
        "#!/bin/sh\nexec env PYTHONPATH={} {} -m awslambdaric {handler}\n",
        library.display(),
        interpreter.display()
    );
    let code = code(&[files, &[("bootstrap", &bootstrap)]].concat());
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let outcome = gateway.claim(claim(code.path(), handler)).outcome;
    Some((gateway, outcome, code))
}

#[test]
fn error_documents_are_those_of_awss_client() {
    let cases = [
        ("app.handler", "def handler(event, context):\n    raise ValueError('bad')\n"),
        ("app.handler", "def handler(event, context):\n    return object()\n"),
        ("app.handler", "def inner():\n    raise KeyError('k')\ninner()\n"),
        ("app.handler", "import nothing_of_that_name\n"),
        ("app.handler", "def handler(:\n"),
        ("app.other", "x = 1\n"),
        ("app", "x = 1\n"),
        ("sys.exit", "x = 1\n"),
        ("missing.handler", "x = 1\n"),
        ("app.handler", "import sys\nsys.exit(7)\n"),
        ("app.handler", "import os\ndef handler(event, context):\n    os._exit(0)\n"),
    ];
    for (handler, app) in cases {
        let Some((mut plain, expected, plain_code)) = plain_client(&[("app.py", app)], handler) else { return };
        let document = |gateway: &mut Gateway, code: &TempDir| -> Value {
            let answer: Answer = gateway.invoke_with_tail(b"{}");
            assert_eq!(answer.kind, Kind::FunctionError);
            let request = answer.tail.split_once("START RequestId: ").unwrap().1[..36].to_owned();
            let text = answer.text().replace(code.path().to_str().unwrap(), "CODE").replace(&request, "ID");
            serde_json::from_str(&text).unwrap()
        };
        let expected_document = document(&mut plain, &plain_code);
        for warm in [false, true] {
            let Some(runtime) = python(warm) else { return };
            let code = code(&[("app.py", app)]);
            let mut gateway = Gateway::start(runtime);
            let outcome = gateway.claim(claim(code.path(), handler)).outcome;
            assert_eq!(outcome, expected, "{handler} {app:?} warm {warm}");
            let document = document(&mut gateway, &code);
            assert_eq!(document, expected_document, "{handler} {app:?} warm {warm}");
        }
    }
}

#[test]
fn a_wrapper_runs_the_interpreter_it_is_given_as_aws_shows_it() {
    // AWS's page has wrappers that put options before the last argument.
    let wrapper = "#!/bin/bash\nargs=(\"$@\")\nexport WRAPPED=yes\n\
                   exec \"${args[@]:0:$#-1}\" -X utf8=1 \"${args[@]: -1}\"\n";
    let app = "import os, sys\ndef handler(event, context):\n    return [os.environ['WRAPPED'], sys.flags.utf8_mode]\n";
    let Some(runtime) = python(true) else { return };
    let (mut gateway, _code) = function(runtime, &[("app.py", app), ("wrapper", wrapper)], |claim| {
        let Code::Directory(folder) = claim.code.clone();
        set(claim, "AWS_LAMBDA_EXEC_WRAPPER", folder.join("wrapper").to_str().unwrap());
    });
    assert_eq!(gateway.invoke(b"{}").text(), r#"["yes", 1]"#);
}

#[test]
fn a_missing_wrapper_is_status_127() {
    let Some(runtime) = python(true) else { return };
    let code = code(&[("app.py", "")]);
    let mut gateway = Gateway::start(runtime);
    let mut claim = claim(code.path(), "app.handler");
    set(&mut claim, "AWS_LAMBDA_EXEC_WRAPPER", "/opt/nothing");
    let expected = InitOutcome::Failed { error_type: "Runtime.ExitError".to_owned() };
    assert_eq!(gateway.claim(claim).outcome, expected);
    let answer = gateway.invoke(b"{}");
    let message = answer.json()["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.ends_with("Error: Runtime exited with error: exit status 127"), "{message}");
}

#[test]
fn interpreter_variables_are_honoured_by_a_fresh_interpreter() {
    let app = "import sys, os, extra\ndef handler(event, context):\n    return [sys.flags.hash_randomization, extra.x, \
               os.path.basename(sys.path[0])]\n";
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let (mut gateway, code) = function(runtime, &[("app.py", app), ("vendor/extra.py", "x = 5\n")], |claim| {
            let Code::Directory(folder) = claim.code.clone();
            set(claim, "PYTHONPATH", folder.join("vendor").to_str().unwrap());
            set(claim, "PYTHONHASHSEED", "0");
        });
        let folder = code.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(gateway.invoke(b"{}").text(), format!("[0, 5, \"{folder}\"]"));
    }
}

#[test]
fn a_module_of_the_functions_comes_before_one_that_is_loaded() {
    let app = "import boto3, queue\ndef handler(event, context):\n    return [boto3.mine, queue.mine]\n";
    let files = [("app.py", app), ("boto3/__init__.py", "mine = 1\n"), ("queue.py", "mine = 2\n")];
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let (mut gateway, _code) = function(runtime, &files, |_| {});
        assert_eq!(gateway.invoke(b"{}").text(), "[1, 2]");
    }
}

#[test]
fn files_that_are_no_modules_do_not_cost_the_warm_interpreter() {
    let Some(runtime) = python(true) else { return };
    let app = "import sys\nwarm = 'boto3' in sys.modules\ndef handler(event, context):\n    return warm\n";
    let files = [("app.py", app), ("email/welcome.html", ""), ("json.txt", ""), ("random", "")];
    let (mut gateway, _code) = function(runtime, &files, |_| {});
    assert_eq!(gateway.invoke(b"{}").text(), "true");
}

#[test]
fn a_module_of_a_layer_comes_before_one_that_is_loaded() {
    let app = "import boto3, sys\ndef handler(event, context):\n    return boto3.mine\n";
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let layer = code(&[("python/boto3.py", "mine = 'of the layer'\n")]);
        let (mut gateway, _code) = function(runtime, &[("app.py", app)], |claim| {
            claim.layers = vec![Code::Directory(layer.path().to_owned())];
        });
        assert_eq!(gateway.invoke(b"{}").text(), "\"of the layer\"");
    }
}

#[test]
fn json_logs_are_written_by_awss_client_with_its_level() {
    let app = "import logging\ndef handler(event, context):\n    logging.getLogger().info('no')\n    \
               logging.getLogger().error('yes')\n";
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let (mut gateway, _code) = function(runtime, &[("app.py", app)], |claim| {
            claim.log_format = LogFormat::Json;
            set(claim, "AWS_LAMBDA_LOG_FORMAT", "JSON");
            set(claim, "AWS_LAMBDA_LOG_LEVEL", "WARN");
        });
        gateway.invoke(b"{}");
        let log = gateway.log_with("platform.report");
        let line = log.lines().find(|line| line.contains("\"level\"")).unwrap();
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&record["message"], &record["level"]), (&"yes".into(), &"ERROR".into()), "{log}");
        assert!(!log.contains("\"no\""), "{log}");
    }
}

#[test]
fn a_warm_interpreter_that_dies_leaves_a_worker_that_starts_fresh_ones() {
    let Some(RuntimeSpec::Python { library, .. }) = python(true) else { return };
    // Not an interpreter of Python: it ends at once, whatever it is told.
    let broken = RuntimeSpec::Python { interpreter: "/bin/false".into(), library, warm: true };
    let code = code(&[("app.py", "")]);
    let mut gateway = Gateway::start(broken);
    let report = gateway.claim(claim(code.path(), "app.handler"));
    assert_eq!(report.outcome, InitOutcome::Failed { error_type: "Runtime.ExitError".to_owned() });
}

#[test]
fn without_an_sdk_there_is_still_a_warm_interpreter() {
    let Some(RuntimeSpec::Python { interpreter, library, .. }) = python(true) else { return };
    // Only the client, in a folder of its own.
    let only = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&library[0]).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !["boto3", "botocore", "s3transfer"].contains(&name.to_str().unwrap()) {
            std::os::unix::fs::symlink(entry.path(), only.path().join(name)).unwrap();
        }
    }
    // One that this machine has elsewhere is hidden by this.
    std::fs::write(only.path().join("boto3.py"), "raise ImportError('there is none')\n").unwrap();
    let app = "def handler(event, context):\n    try:\n        import boto3\n    except ImportError:\n        return 'none'\n";
    let runtime = RuntimeSpec::Python { interpreter, library: vec![only.path().to_owned()], warm: true };
    let (mut gateway, _code) = function(runtime, &[("app.py", app)], |_| {});
    assert_eq!(gateway.invoke(b"{}").text(), "\"none\"");
}
