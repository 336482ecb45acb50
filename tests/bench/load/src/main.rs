//! A closed-loop HTTP/1.1 load generator: each of N keep-alive connections sends its next request when it has its
//! answer. One thread, level-triggered epoll. Every answer is checked: status, no function error, and the event itself
//! as its body (as JSON). The first wrong one ends the run with an error.
//!
//! `load --url URL --connections N (--seconds S | --requests R) [--body JSON] [--tree PID]` prints one line of JSON.
//! With `--tree` it says what CPU the process and all that it started used for one invocation, and which share of the
//! machine others took meanwhile.

mod connection;
mod processes;

use connection::{Connection, Progress};
use lexopt::prelude::*;
use processes::Usage;
use rustix::event::epoll;
use std::error::Error;
use std::time::{Duration, Instant};

struct Options {
    address: String,
    request: Vec<u8>,
    event: Vec<u8>,
    connections: usize,
    seconds: Option<f64>,
    requests: Option<usize>,
    tree: Option<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let mut connections =
        (0..options.connections).map(|_| Connection::open(&options.address)).collect::<Result<Vec<_>, _>>()?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, connection) in connections.iter().enumerate() {
        epoll::add(&poller, connection, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }

    let before = options.tree.map(Usage::read).transpose()?;
    let begun = Instant::now();
    let until = options.seconds.map(|seconds| begun + Duration::from_secs_f64(seconds));
    let (mut sent, mut waiting) = (0, 0);
    let wanted = |sent: usize, now: Instant| {
        until.is_none_or(|until| now < until) && options.requests.is_none_or(|most| sent < most)
    };
    for connection in &mut connections {
        if wanted(sent, begun) {
            connection.send(&options.request)?;
            (sent, waiting) = (sent + 1, waiting + 1);
        }
    }
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut events = Vec::with_capacity(options.connections);
    while waiting > 0 {
        events.clear();
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let connection = &mut connections[event.data.u64() as usize];
            if connection.read(&options.event)? == Progress::Partial {
                continue;
            }
            let now = Instant::now();
            latencies.push(now - connection.sent_at());
            waiting -= 1;
            if wanted(sent, now) {
                connection.send(&options.request)?;
                (sent, waiting) = (sent + 1, waiting + 1);
            }
        }
    }
    let took = begun.elapsed();
    let used = match (options.tree, before) {
        (Some(root), Some(before)) => Some(Usage::read(root)?.since(&before)),
        _ => None,
    };
    println!("{}", report(&mut latencies, took, used));
    Ok(())
}

fn options() -> Result<Options, Box<dyn Error>> {
    let (mut url, mut event) = (None, br#"{"hello":"world","n":1}"#.to_vec());
    let (mut connections, mut seconds, mut requests, mut tree) = (1, None, None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("url") => url = Some(arguments.value()?.string()?),
            Long("body") => event = arguments.value()?.string()?.into_bytes(),
            Long("connections") => connections = arguments.value()?.parse()?,
            Long("seconds") => seconds = Some(arguments.value()?.parse()?),
            Long("requests") => requests = Some(arguments.value()?.parse()?),
            Long("tree") => tree = Some(arguments.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if seconds.is_none() && requests.is_none() {
        return Err("one of --seconds and --requests is needed".into());
    }
    let url = url.ok_or("--url is missing")?;
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or("--url is no URL")?;
    let mut request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        event.len()
    )
    .into_bytes();
    request.extend_from_slice(&event);
    Ok(Options { address: address.to_owned(), request, event, connections, seconds, requests, tree })
}

fn report(latencies: &mut [Duration], took: Duration, used: Option<Usage>) -> serde_json::Value {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map(|latency| latency.as_secs_f64() * 1e6)
    };
    let count = latencies.len() as f64;
    serde_json::json!({
        "requests": latencies.len(),
        "seconds": took.as_secs_f64(),
        "per_second": count / took.as_secs_f64(),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "max_us": at(1.0),
        "cpu_us": used.as_ref().map(|used| used.tree.as_secs_f64() * 1e6 / count),
        "others_share": used.map(|used| used.others.as_secs_f64() / (took.as_secs_f64() * processes::cores())),
    })
}
