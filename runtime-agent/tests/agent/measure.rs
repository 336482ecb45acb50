//! Figures, not facts: `cargo test --profile ci -p warmpod-agent --test agent -- --ignored --nocapture --test-threads 1`.

use crate::gateway::{Gateway, claim, code};
use crate::python_library::python;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Resident memory of a process in KiB.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Half of the measured times are below this.
fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Invokes, with a pause as long as a caller's way back, and reads the log as a gateway does. Gives microseconds.
fn invoke_many(gateway: &mut Gateway, count: usize, pause: Duration) -> Vec<u128> {
    let mut times = Vec::new();
    for _ in 0..count / 100 {
        gateway.log.clear();
        for _ in 0..100 {
            let since = Instant::now();
            gateway.invoke(b"{}");
            times.push(since.elapsed().as_micros());
            let since = Instant::now();
            while since.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
        gateway.read_until("the reports", |gateway| {
            gateway.log.iter().filter(|event| event.line.starts_with(b"REPORT")).count() >= 100
        });
    }
    times
}

#[test]
#[ignore = "a measurement"]
fn warm_invocations_of_python_with_the_agents_system_calls() {
    const ROUNDS: usize = 5000;
    let Some(runtime) = python(true) else { return };
    let code = code(&[("app.py", "def handler(event, context):\n    return event\n")]);
    let mut gateway = Gateway::start(runtime);
    gateway.claim_well(claim(code.path(), "app.handler"));
    invoke_many(&mut gateway, 200, Duration::ZERO);
    println!("agent: {} KiB resident", resident(gateway.agent_pid()));
    println!("warm invocation: p50 {} us", median(invoke_many(&mut gateway, ROUNDS, Duration::from_micros(100))));
    let strace =
        Command::new("strace").args(["-c", "-p", &gateway.agent_pid().to_string()]).stderr(Stdio::piped()).spawn();
    let Ok(strace) = strace else { return println!("no strace: system calls are not counted") };
    // Until it is attached.
    invoke_many(&mut gateway, 500, Duration::ZERO);
    invoke_many(&mut gateway, ROUNDS, Duration::from_millis(1));
    let _ = Command::new("kill").args(["-INT", &strace.id().to_string()]).status();
    println!("{}", String::from_utf8_lossy(&strace.wait_with_output().unwrap().stderr));
}

#[test]
#[ignore = "a measurement"]
fn claim_to_ready() {
    for (name, app) in [
        ("plain", "def handler(event, context):\n    return event\n"),
        ("boto3", "import boto3\nclient = boto3.client('s3')\ndef handler(event, context):\n    return event\n"),
        (
            "dynamodb",
            "import boto3\nclient = boto3.client('dynamodb')\ndef handler(event, context):\n    return event\n",
        ),
        (
            "resource",
            "import boto3\ntable = boto3.resource('dynamodb').Table('x')\ndef handler(event, context):\n    return event\n",
        ),
    ] {
        for warm in [true, false] {
            let mut times = Vec::new();
            let mut memory = String::new();
            for _ in 0..9 {
                let Some(runtime) = python(warm) else { return };
                let code = code(&[("app.py", app)]);
                let mut gateway = Gateway::start(runtime);
                times.push(u128::from(gateway.claim_well(claim(code.path(), "app.handler")).duration_us));
                gateway.invoke_with_tail(b"{}");
                memory = gateway
                    .log_with("Max Memory")
                    .split_once("Max Memory Used")
                    .unwrap()
                    .1
                    .lines()
                    .next()
                    .unwrap()
                    .to_owned();
            }
            println!("{name}, warm {warm}: claim to ready {} us; memory{memory}", median(times));
        }
    }
}
