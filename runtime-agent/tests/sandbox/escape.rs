//! Ways out, and the layers that stand in them.

use crate::trial::{Sandbox, User, outside};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use warmpod_link::worker::{Network, SandboxSpec};

/// A layer that stands in the way: how to switch it off.
type Off = fn(&mut SandboxSpec);

const FILES: (&str, Off) = ("own root file system", |spec| spec.layers.files = false);
const PROCESSES: (&str, Off) = ("pid namespace", |spec| spec.layers.processes = false);
const IPC: (&str, Off) = ("ipc namespace", |spec| spec.layers.ipc = false);
const CAPABILITIES: (&str, Off) = ("no capabilities", |spec| spec.layers.capabilities = false);
const LIMITS: (&str, Off) = ("limits", |spec| spec.layers.limits = false);
const LANDLOCK: (&str, Off) = ("Landlock", |spec| spec.layers.landlock = false);
const SECCOMP: (&str, Off) = ("seccomp", |spec| spec.layers.seccomp = false);
const USERS: (&str, Off) = ("user namespace", |spec| spec.layers.users = false);
const NETWORK: (&str, Off) = ("network namespace", |spec| spec.network = Network::Host { ports: vec![] });

/// The attempt is stopped by all layers together and by each of `guards` alone, and works without them.
fn stopped_by(guards: &[(&str, Off)], make: impl Fn(User) -> (Sandbox, String)) {
    for &user in User::all() {
        stopped_for(user, guards, &make);
    }
}

fn stopped_for(user: User, guards: &[(&str, Off)], make: &impl Fn(User) -> (Sandbox, String)) {
    let (sandbox, script) = make(user);
    let said = sandbox.python(&script);
    assert!(said.starts_with("kept"), "{user:?}, all layers on: {said}");
    for (name, _) in guards {
        let (mut sandbox, script) = make(user);
        guards.iter().filter(|(other, _)| other != name).for_each(|(_, off)| off(&mut sandbox.spec));
        let said = sandbox.python(&script);
        assert!(said.starts_with("kept"), "{user:?}, of {guards:?} only the {name} on: {said}");
    }
    let (mut sandbox, script) = make(user);
    guards.iter().for_each(|(_, off)| off(&mut sandbox.spec));
    let said = sandbox.python(&script);
    assert_eq!(said, "out", "{user:?}, with nothing in the way the attempt must work");
}

#[test]
fn the_data_directory_cannot_be_read() {
    stopped_by(&[FILES, LANDLOCK], |user| {
        let sandbox = Sandbox::of(user).shows(&[]);
        let secret = sandbox.write("secret", "of the gateway");
        (sandbox, format!("attempt(lambda: open({secret:?}).read())"))
    });
}

/// In the degraded sandbox that has no file system of its own, all code is readable: it is unpacked for everybody.
#[test]
fn another_functions_code_cannot_be_read() {
    stopped_by(&[FILES], |user| {
        let sandbox = Sandbox::of(user).shows(&[]);
        let other = sandbox.write("code/other/handler.py", "print('secret')");
        (sandbox, format!("attempt(lambda: open({other:?}).read())"))
    });
}

/// From outside of a pid namespace the parent is 0; the number given instead is no process's.
const READ_PARENT: &str = "attempt(lambda: open(f'/proc/{os.getppid() or 4194304}/mem', 'rb'))";
/// PTRACE_SEIZE, which does not stop it.
const TRACE_PARENT: &str = "attempt(lambda: call('ptrace', 0x4206, os.getppid(), None, None))";

#[test]
fn the_agents_memory_cannot_be_read() {
    if User::all().contains(&User::Root) {
        stopped_for(User::Root, &[PROCESSES, CAPABILITIES, USERS], &|user| {
            let mut sandbox = Sandbox::of(user);
            LANDLOCK.1(&mut sandbox.spec);
            (sandbox, READ_PARENT.to_owned())
        });
    }
}

#[test]
fn the_agent_cannot_be_traced() {
    if User::all().contains(&User::Root) {
        stopped_for(User::Root, &[PROCESSES, CAPABILITIES, USERS, SECCOMP], &|user| {
            let mut sandbox = Sandbox::of(user);
            LANDLOCK.1(&mut sandbox.spec);
            (sandbox, TRACE_PARENT.to_owned())
        });
    }
}

/// An ordinary user's agent has the function's own uid. It is not dumpable, which no layer switches off.
#[test]
fn an_agent_of_the_same_user_is_closed_whatever_else_is_off() {
    for script in [READ_PARENT, TRACE_PARENT] {
        let mut sandbox = Sandbox::of(User::Ordinary);
        for (_, off) in [PROCESSES, CAPABILITIES, SECCOMP, LANDLOCK] {
            off(&mut sandbox.spec);
        }
        assert!(sandbox.python(script).starts_with("kept"));
    }
}

#[test]
fn foreign_processes_cannot_be_signalled() {
    for &user in User::all() {
        let sandbox = Sandbox::of(user);
        let foreign = Foreign::of(sandbox.outer_uid());
        stopped_for(user, &[PROCESSES, LANDLOCK], &|user| {
            let mut another = Sandbox::of(user);
            another.spec.ids = sandbox.spec.ids.clone();
            (another, format!("attempt(lambda: os.kill({}, 0))", foreign.0.id()))
        });
    }
}

/// A process of the machine with the same uid as the function's.
struct Foreign(Child);

impl Foreign {
    fn of(uid: u32) -> Foreign {
        let mut command = Command::new("sleep");
        command.arg("600");
        if rustix::process::geteuid().is_root() {
            command.uid(uid);
        }
        Foreign(command.spawn().expect("sleep is everywhere"))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nothing_can_be_mounted() {
    stopped_by(&[CAPABILITIES, LANDLOCK, SECCOMP], |user| {
        (Sandbox::of(user), "attempt(lambda: call('mount', b'none', b'/tmp', b'tmpfs', 0, None))".to_owned())
    });
}

#[test]
fn a_user_namespace_cannot_be_made() {
    stopped_by(&[SECCOMP], |user| (Sandbox::of(user), "attempt(lambda: call('unshare', 0x10000000))".to_owned()));
}

#[test]
fn a_user_namespace_cannot_be_made_by_clone_either() {
    const CLONE: &str = r#"
def clone():
    number = 56 if os.uname().machine == "x86_64" else 220
    child = libc.syscall(number, 0x10000000 | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child == -1:
        raise OSError(ctypes.get_errno(), "clone")
attempt(clone)
"#;
    stopped_by(&[SECCOMP], |user| (Sandbox::of(user), CLONE.to_owned()));
}

#[test]
fn sockets_of_no_namespace_cannot_be_made() {
    // The kernel's crypto, or where that is not built in, its refusal of a family that it does not know.
    const FAMILY: &str = r#"
def family():
    try:
        socket.socket(38, socket.SOCK_SEQPACKET)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
attempt(family)
"#;
    stopped_by(&[SECCOMP], |user| (Sandbox::of(user), FAMILY.to_owned()));
}

#[test]
fn keys_cannot_be_reached() {
    // KEYCTL_GET_KEYRING_ID of the session.
    const KEYS: &str = "attempt(lambda: libc.syscall(250 if os.uname().machine == 'x86_64' else 219, 0, -3, 1) == -1 and \
        (_ for _ in ()).throw(OSError(ctypes.get_errno(), 'keyctl')))";
    stopped_by(&[SECCOMP], |user| (Sandbox::of(user), KEYS.to_owned()));
}

#[test]
fn the_machines_loopback_cannot_be_reached() {
    let service = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = service.local_addr().expect("it is bound");
    stopped_by(&[NETWORK, LANDLOCK], |user| {
        (Sandbox::of(user), format!("attempt(lambda: socket.create_connection(('127.0.0.1', {}), 5))", address.port()))
    });
}

#[test]
fn on_the_machines_network_only_named_ports_can_be_connected_to() {
    let service = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = service.local_addr().expect("it is bound").port();
    for &user in User::all() {
        let script = format!("attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 5))");
        let mut sandbox = Sandbox::of(user);
        sandbox.spec.network = Network::Host { ports: vec![port] };
        assert_eq!(sandbox.python(&script), "out");
        sandbox.spec.network = Network::Host { ports: vec![port ^ 1] };
        assert_eq!(sandbox.python(&script), "kept: EACCES");
    }
}

#[test]
fn abstract_sockets_of_the_machine_cannot_be_reached() {
    let name = format!("warmpod-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("the name is free");
    stopped_by(&[NETWORK, LANDLOCK], |user| {
        let connect = format!("socket.socket(socket.AF_UNIX).connect(b'\\0{name}')");
        (Sandbox::of(user), format!("attempt(lambda: {connect})"))
    });
}

#[test]
fn shared_memory_of_the_machine_cannot_be_reached() {
    let id = outside("print(libc.shmget(0, 4096, 0o1666))");
    stopped_by(&[IPC], |user| {
        let attach = format!("call('shmctl', {id}, 2, ctypes.create_string_buffer(256))");
        (Sandbox::of(user), format!("attempt(lambda: {attach})"))
    });
    outside(&format!("libc.shmctl({id}, 0, None)"));
}

/// Were the agent the machine's root, a process that got its capabilities would be too.
#[test]
fn the_sandboxs_root_is_not_the_machines() {
    if !User::all().contains(&User::Root) {
        return;
    }
    let make = |user| {
        let mut sandbox = Sandbox::of(user);
        for (_, off) in [FILES, CAPABILITIES, LANDLOCK, SECCOMP] {
            off(&mut sandbox.spec);
        }
        let secret = sandbox.write("secret", "of root");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, mode).expect("the test's own file");
        (sandbox, format!("attempt(lambda: open({secret:?}).read())"))
    };
    stopped_for(User::Root, &[USERS], &make);
}

#[test]
fn a_fork_bomb_hurts_only_itself() {
    const BOMB: &str = r#"
def bomb():
    for _ in range(1200):
        if os.fork() == 0:
            import signal
            signal.pause()
attempt(bomb)
"#;
    stopped_by(&[LIMITS], |user| (Sandbox::of(user), BOMB.to_owned()));
}
