//! Whom a linked worker reaches, and who reaches it. As root only; elsewhere workers are not linked.

use super::super::slots::Slot;
use super::super::tests::Installation;
use super::super::trials::{self, NOTHING};
use super::super::{LocalEngine, Reach, machine};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use warmpod_link::worker::Layers;

/// A host that is not this machine: a network namespace behind a link with a public address that is nobody's
/// (198.18.0.0/15 is for benchmarks).
struct Elsewhere(Child);

impl Elsewhere {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

    fn new() -> Elsewhere {
        const SERVE: &str = "read ready; ip link set lo up; ip link set elsewhere up; \
            ip address add 198.18.0.2/30 dev elsewhere; \
            exec python3 -c 'import socket
s = socket.create_server((\"198.18.0.2\", 80))
print(\"up\", flush=True)
while True:
    c, (address, _) = s.accept()
    c.sendall(address.encode())
    c.close()'";
        let mut child = Command::new("unshare")
            .args(["--net", "/bin/sh", "-c", SERVE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is everywhere");
        wait_for_namespace(child.id());
        let pid = child.id().to_string();
        ip(&["link", "add", "wpelse", "type", "veth", "peer", "name", "elsewhere", "netns", &pid]);
        ip(&["address", "add", "198.18.0.1/30", "dev", "wpelse"]);
        ip(&["link", "set", "wpelse", "up"]);
        child.stdin.take().expect("it is piped").write_all(b"ready\n").expect("it reads");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("it says when it is up");
        assert_eq!(line, "up\n");
        Elsewhere(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until the program before it has made its network namespace.
fn wait_for_namespace(pid: u32) {
    let own = std::fs::read_link("/proc/self/ns/net").expect("this process has one");
    let theirs = || std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_else(|_| own.clone());
    while theirs() == own {
        std::thread::yield_now();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments:?}");
}

/// What a Python program prints in a worker that is linked.
async fn python(engine: &LocalEngine, slot: Slot, script: &str) -> String {
    let Reach::Linked(bridge) = &engine.shared.machine.network else { panic!("as root workers are linked") };
    let layers = Layers { users: true, files: true, processes: true, ..NOTHING };
    let network = bridge.link(format!("wt{}{slot}", engine.shared.machine.installation), slot);
    let sandbox = trials::bare(layers, machine::trial_ids(), network);
    let command = ["/usr/bin/env", "python3", "-c", script];
    let answer = trials::attempt(&engine.shared.config.agent, sandbox, &command).await;
    answer.expect("the agent runs").expect("the sandbox can be made")
}

/// What a worker gets when it connects.
async fn connect(engine: &LocalEngine, slot: Slot, to: (Ipv4Addr, u16)) -> String {
    let (address, port) = to;
    let script = format!(
        "import socket\ntry:\n    print(socket.create_connection(('{address}', {port}), 1).recv(100).decode())\n\
         except OSError as error:\n    print('kept:', error)"
    );
    python(engine, slot, &script).await
}

/// For a connection that works.
const PATIENCE: Duration = Duration::from_secs(5);

fn linked() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reaches_the_outside_under_the_machines_address_and_nothing_else() {
    if !linked() {
        return;
    }
    let installation = Installation::new();
    let (engine, _events) = installation.engine().await;
    let elsewhere = Elsewhere::new();
    // A slot for each: a link and its address may stay for a moment when its worker is gone.
    let mut slots = (0..).map(|number| Slot::of_ids(0x7000_0000 + 65_536 * number).expect("there are thousands"));
    let mut slot = || slots.next().expect("there are thousands");
    assert_eq!(connect(&engine, slot(), (Elsewhere::ADDRESS, 80)).await, "198.18.0.1");

    let everywhere = TcpListener::bind("[::]:0").expect("a free port");
    let port = everywhere.local_addr().expect("it is bound").port();
    // The machine by the address of a link of its, and by the bridge's own.
    let Reach::Linked(bridge) = &engine.shared.machine.network else { panic!("as root workers are linked") };
    let router = Ipv4Addr::from(u32::from(bridge.network) + 1);
    for address in [Ipv4Addr::new(198, 18, 0, 1), router, Ipv4Addr::LOCALHOST] {
        let answer = connect(&engine, slot(), (address, port)).await;
        assert!(answer.starts_with("kept"), "{address}: {answer}");
    }
    drop(elsewhere);
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reaches_no_other_worker() {
    if !linked() {
        return;
    }
    let installation = Installation::new();
    let (engine, _events) = installation.engine().await;
    let Reach::Linked(bridge) = &engine.shared.machine.network else { panic!("as root workers are linked") };
    let (server, client) = (Slot::LAST, Slot::of_ids(0x7000_0000).expect("the first"));
    let address = server.address(bridge.network);
    // Serves whoever comes first, and says who that was.
    const SERVE: &str = "import socket\ns = socket.create_server(('0.0.0.0', 8080))\ns.settimeout(10)\nc, (address, _) = s.accept()\n\
                         c.sendall(b'reached')\nprint(address)";
    let attempts = async {
        // The machine reaches it, so it serves; the gateway's own way in is by that address too.
        let kept = connect(&engine, client, (address, 8080)).await;
        let machine = std::net::SocketAddr::from((address, 8080));
        let reached = tokio::task::spawn_blocking(move || TcpStream::connect_timeout(&machine, PATIENCE)).await;
        (kept, reached.expect("nothing panics there"))
    };
    let (served, (kept, reached)) = tokio::join!(python(&engine, server, SERVE), attempts);
    assert!(kept.starts_with("kept"), "{kept}");
    assert!(reached.is_ok(), "{reached:?}");
    assert_eq!(served, Ipv4Addr::from(u32::from(bridge.network) + 1).to_string(), "the machine was the first to come");
    engine.close().await;
}
