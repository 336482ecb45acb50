//! Bytes that no runtime should send. Each gets an answer or a closed connection; the worker goes on.

use crate::http::{Client, Silent};
use warmpod_link::frame::InvokeMeta;

/// The worker still serves a well-behaved client.
fn still_serves(silent: &mut Silent) {
    let mut client = silent.client();
    client.ask_next();
    let request = silent.gateway.begin(b"e", &InvokeMeta::default());
    let event = client.response();
    assert_eq!(client.post(&event, "response", "", b"r").status, 202);
    assert_eq!(silent.gateway.answer(request).text(), "r");
}

fn worker() -> Silent {
    let (silent, _client) = Silent::ready(|_| {});
    silent
}

#[test]
fn requests_that_cannot_be_understood_are_refused_and_closed() {
    let mut silent = worker();
    let header =
        |headers: &str| format!("POST /2018-06-01/runtime/init/error HTTP/1.1\r\n{headers}\r\n\r\n").into_bytes();
    for (bytes, status) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n".to_vec(), 400),
        (b"GET  HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"GET /x HTTP/9.9\r\n\r\n".to_vec(), 400),
        (header("Content-Length: -1"), 400),
        (header("Content-Length: 1\r\nContent-Length: 2"), 400),
        (header("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (header("Transfer-Encoding: gzip"), 501),
        (header("No colon here"), 400),
        (header(&"A: b\r\n".repeat(500)), 431),
        (header(&format!("A: {}", "b".repeat(2 * 1024 * 1024))), 431),
    ] {
        let mut client = silent.client();
        // The agent may have closed before all of it is written.
        let _ = std::io::Write::write_all(&mut client.socket, &bytes);
        assert_eq!(client.response().status, status, "{:?}", String::from_utf8_lossy(&bytes[..40.min(bytes.len())]));
    }
    still_serves(&mut silent);
}

#[test]
fn chunks_that_lie_end_the_call_as_truncated() {
    let mut silent = worker();
    for chunks in ["zz\r\n", "5\r\nabcdefgh\r\n", "ffffffffffffffffff\r\n"] {
        let mut client = silent.client();
        client.send(b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks.as_bytes());
        // The state is looked at first: init is over.
        assert_eq!(client.response().status, 403, "{chunks:?}");
        client.is_closed();
    }
    still_serves(&mut silent);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let silent = worker();
    let mut client = silent.client();
    client.socket.set_nodelay(true).unwrap();
    for byte in b"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n" {
        client.send(&[*byte]);
    }
    assert_eq!(client.response().text(), "pong");
}

#[test]
fn many_connections_and_half_requests_do_not_stop_the_worker() {
    let mut silent = worker();
    let mut held: Vec<Client> = (0..40).map(|_| silent.client()).collect();
    for (index, client) in held.iter_mut().enumerate() {
        client.send(&b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 50\r\n\r\nhalf"[..index + 10]);
    }
    still_serves(&mut silent);
    // More than it keeps: closed at once, not left hanging.
    let mut more: Vec<Client> = (0..40).map(|_| silent.client()).collect();
    more.last_mut().unwrap().is_closed();
    drop((held, more));
    still_serves(&mut silent);
}

#[test]
fn a_client_that_expects_a_continue_gets_it() {
    let (mut silent, mut client) = Silent::ready(|_| {});
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    let event = client.response();
    let id = event.header("Lambda-Runtime-Aws-Request-Id").unwrap();
    client.send(
        format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nExpect: 100-continue\r\n\
             Content-Length: 4\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(client.response().status, 100);
    client.send(b"body");
    assert_eq!(client.response().status, 202);
    assert_eq!(silent.gateway.answer(request).text(), "body");
}

#[test]
fn a_runtime_that_does_not_read_its_event_does_not_stop_the_worker() {
    let (mut silent, mut lazy) = Silent::ready(|_| {});
    let event = vec![b'x'; 6 * 1024 * 1024];
    let request = silent.gateway.begin(&event, &InvokeMeta::default());
    // Others are served while the event does not fit the socket.
    let mut other = silent.client();
    assert_eq!(other.request("GET /2018-06-01/ping", "", b"").text(), "pong");
    let got = lazy.response();
    assert_eq!(got.body, event);
    assert_eq!(lazy.post(&got, "response", "", b"r").status, 202);
    assert_eq!(silent.gateway.answer(request).text(), "r");
}

#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    const COUNT: usize = 100_000;
    let (silent, _client) = Silent::ready(|_| {});
    let mut client = silent.client();
    let mut writer = client.socket.try_clone().unwrap();
    let resident = || crate::gateway::resident(silent.gateway.agent_pid());
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            for _ in 0..COUNT / 100 {
                let pings = b"GET /2018-06-01/ping HTTP/1.1\r\n\r\n".repeat(100);
                std::io::Write::write_all(&mut writer, &pings).unwrap();
            }
        });
        // Another is served meanwhile.
        assert_eq!(silent.client().request("GET /2018-06-01/ping", "", b"").text(), "pong");
        assert!(resident() < 6 * 1024, "{} KiB", resident());
        for _ in 0..COUNT {
            assert_eq!(client.response().status, 200);
        }
        sending.join().unwrap();
    });
    assert!(resident() < 6 * 1024, "{} KiB", resident());
}
