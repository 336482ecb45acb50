//! The agent in a real sandbox: what the other tests show beside it, once more where paths, ids and networks differ.

use crate::gateway::{Gateway, claim, code_in};
use crate::provided::ECHO;
use crate::python_library::library;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use warmpod_link::Claim;
use warmpod_link::control::InitOutcome;
use warmpod_link::worker::{Bind, IdMap, Layers, Network, RuntimeSpec, SandboxSpec};

/// All layers, over the programs of this machine.
fn sandbox(code: &Path) -> SandboxSpec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = 0x6000_0000 + 65536 * (std::process::id() % 1024 + NEXT.fetch_add(1, Ordering::Relaxed));
    let shown = |path: &str| Bind { source: path.into(), target: path.into() };
    let mut read_only: Vec<Bind> =
        ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache"].map(shown).into_iter().collect();
    if let Some((interpreter, library)) = library() {
        let prefix = interpreter.parent().and_then(Path::parent).unwrap();
        if !prefix.starts_with("/usr") {
            read_only.push(Bind { source: prefix.to_owned(), target: prefix.to_owned() });
        }
        read_only.push(Bind { source: library, target: "/var/runtime".into() });
    }
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    SandboxSpec {
        read_only,
        files: vec![
            ("/etc/passwd".into(), "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n".into()),
            ("/etc/hosts".into(), "127.0.0.1 localhost\n".into()),
        ],
        code: code.to_owned(),
        cgroups: Vec::new(),
        ids: if root { IdMap::Range { base } } else { IdMap::Single },
        network: Network::Loopback,
        layers: Layers::ALL,
    }
}

fn python() -> Option<RuntimeSpec> {
    let (interpreter, _) = library()?;
    Some(RuntimeSpec::Python { interpreter, library: vec![PathBuf::from("/var/runtime")], warm: true })
}

/// A worker in a sandbox, and a function's code where it may be.
fn worker(runtime: RuntimeSpec, files: &[(&str, &str)]) -> (Gateway, TempDir, Claim) {
    let gateway = Gateway::start_in(runtime, Duration::from_secs(60), |folder| Some(sandbox(folder)));
    let code = code_in(gateway.folder(), files);
    let claim = claim(code.path(), "app.handler");
    (gateway, code, claim)
}

#[test]
fn a_warm_python_function_finds_aws_paths() {
    let app = "import os, sys\ndef handler(event, context):\n    return [os.getcwd(), sys.path[:4], __file__, \
               os.environ['AWS_LAMBDA_RUNTIME_API'], [os.getuid(), os.getgid()]]\n";
    let Some(runtime) = python() else { return };
    let (mut gateway, _code, claim) = worker(runtime, &[("app.py", app)]);
    gateway.claim_well(claim);
    let answer = gateway.invoke(b"{}").json();
    assert_eq!(answer[0], "/var/task");
    let path: Vec<&str> = answer[1].as_array().unwrap().iter().map(|folder| folder.as_str().unwrap()).collect();
    assert_eq!((path[0], path[2], path[3]), ("/var/task", "/opt/python", "/var/runtime"));
    assert!(path[1].starts_with("/opt/python/lib/python3.") && path[1].ends_with("/site-packages"), "{path:?}");
    assert_eq!(answer[2], "/var/task/app.py");
    assert_eq!(answer[3], "127.0.0.1:9001");
    assert_eq!(answer[4], serde_json::json!([993, 990]));
}

#[test]
fn libraries_of_the_function_need_a_linker_that_has_not_looked_for_them() {
    let app = "import sys\nwarm = 'boto3' in sys.modules\ndef handler(event, context):\n    return warm\n";
    for (file, warm) in [("lib/libx.so", "false"), ("data/libx.so", "true")] {
        let Some(runtime) = python() else { return };
        let (mut gateway, _code, claim) = worker(runtime, &[("app.py", app), (file, "")]);
        gateway.claim_well(claim);
        assert_eq!(gateway.invoke(b"1").text(), warm, "{file}");
    }
}

#[test]
fn files_in_tmp_outlive_a_reset_and_processes_do_not() {
    let app = "
import os, subprocess, time
def handler(event, context):
    if event == 'first':
        open('/tmp/kept', 'w').write('still here')
        subprocess.Popen(['sleep', '600'], start_new_session=True)
        time.sleep(60)
    processes = [name for name in os.listdir('/proc') if name.isdigit()]
    return [open('/tmp/kept').read(), len(processes)]
";
    let Some(runtime) = python() else { return };
    let (mut gateway, _code, mut claim) = worker(runtime, &[("app.py", app)]);
    claim.timeout_ms = 1000;
    gateway.claim_well(claim);
    assert_eq!(gateway.invoke(b"\"first\"").json()["errorType"], "Sandbox.Timedout");
    // The sandbox's first process and the runtime.
    assert_eq!(gateway.invoke(b"\"second\"").text(), "[\"still here\", 2]");
}

#[test]
fn a_bootstrap_is_found_where_the_function_finds_it() {
    let (mut gateway, _code, claim) = worker(RuntimeSpec::Provided, &[("bootstrap", ECHO)]);
    gateway.claim_well(claim);
    assert_eq!(gateway.invoke(b"x").text(), "echo: x");
    let (mut gateway, _code, claim) = worker(RuntimeSpec::Provided, &[("other", ECHO)]);
    let expected = InitOutcome::Failed { error_type: "Runtime.InvalidEntrypoint".to_owned() };
    assert_eq!(gateway.claim(claim).outcome, expected);
    let message = gateway.invoke(b"x").json()["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.ends_with("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"), "{message}");
}

#[test]
fn a_script_without_its_interpreter_is_told_as_go_tells_it() {
    let (mut gateway, _code, claim) = worker(RuntimeSpec::Provided, &[("bootstrap", "#!/no/such/shell\n")]);
    gateway.claim(claim);
    let message = gateway.invoke(b"x").json()["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.ends_with("fork/exec /var/task/bootstrap: no such file or directory"), "{message}");
}

#[test]
fn a_gateway_that_comes_back_is_found_from_inside() {
    let (mut gateway, _code, claim) = worker(RuntimeSpec::Provided, &[("bootstrap", ECHO)]);
    gateway.claim_well(claim);
    gateway.vanish();
    gateway.come_back();
    gateway.accept_invocation();
    assert_eq!(gateway.invoke(b"x").text(), "echo: x");
}

#[test]
fn memory_size_holds_where_no_cgroup_counts() {
    let app = "
import time
def handler(event, context):
    kept = bytearray(event * 1024 * 1024)
    kept[::4096] = b'x' * len(kept[::4096])
    time.sleep(event / 50)
";
    let Some(runtime) = python() else { return };
    let (mut gateway, _code, mut claim) = worker(runtime, &[("app.py", app)]);
    claim.memory_mib = 128;
    gateway.claim_well(claim);
    assert_eq!(gateway.invoke(b"1").text(), "null");
    assert_eq!(gateway.invoke(b"300").json()["errorType"], "Runtime.OutOfMemory");
    assert_eq!(gateway.invoke(b"1").text(), "null");
}

#[test]
fn a_claim_that_cannot_be_carried_out_ends_the_worker() {
    let (mut gateway, _code, mut claim) = worker(RuntimeSpec::Provided, &[("bootstrap", ECHO)]);
    claim.code = warmpod_link::control::Code::Directory("/etc".into());
    gateway.wait_for_warm();
    gateway.send(&warmpod_link::ToAgent::Claim(Box::new(claim)));
    assert!(gateway.claim_fails().contains("/etc"));
    assert!(!gateway.agent_ends().success());
}
