//! What a worker sees of the machine: its programs and libraries, the interpreter, the runtime interface client, and the
//! few files of /etc that make a name a name. Nothing of anybody's home, of the data directory or of /run.

use super::interpreters::Offer;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use warmpod_link::worker::{Bind, RuntimeSpec};

/// Shown at the same path, read-only, where they are there.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/var/lib/ca-certificates",
    "/etc/services",
    "/etc/protocols",
    "/etc/mime.types",
];

/// Where the runtime interface client is shown, as on AWS.
const RUNTIME: &str = "/var/runtime";

/// AWS's user, and the ids that files of the machine have inside.
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n\
                      nobody:x:65534:65534:Nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsbx_user1051:x:990:\nnobody:x:65534:\n";

/// The names that the gateway has inside a worker, all of them its loopback, where the agent relays.
const HOSTS: &str = "127.0.0.1 localhost localhost.localdomain sandbox sandbox.localdomain localhost.localstack.cloud\n\
                     ::1 localhost6 localhost6.localdomain6\n";

pub(super) fn system() -> Vec<Bind> {
    // Debian's Java keeps its settings in /etc/java-17-openjdk and the like.
    let of_etc = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    let java = of_etc.filter(|entry| entry.file_name().to_string_lossy().starts_with("java"));
    SYSTEM.iter().map(same).chain(java.map(|entry| same(entry.path()))).collect()
}

/// What a runtime needs beside the system.
pub(super) fn shown(offer: &Offer) -> Vec<Bind> {
    let mut binds = system();
    if let Offer::Python(python) = offer {
        if !SYSTEM.iter().any(|shown| python.prefix.starts_with(shown)) {
            // What Nix builds needs the rest of its store.
            let store = Path::new("/nix/store");
            binds.push(if python.prefix.starts_with(store) { same(store) } else { same(&python.prefix) });
        }
        binds.push(Bind { source: python.client.clone(), target: RUNTIME.into() });
    }
    binds
}

/// A worker that somebody waits for skips what a warm interpreter prepares.
pub(super) fn runtime(offer: &Offer, ahead: bool) -> RuntimeSpec {
    match offer {
        Offer::Provided => RuntimeSpec::Provided,
        Offer::Python(python) => RuntimeSpec::Python {
            interpreter: python.executable.clone(),
            library: vec![PathBuf::from(RUNTIME)],
            warm: ahead,
        },
    }
}

/// The worker's own small files.
pub(super) fn files(resolvers: &[IpAddr], hosts: &[(IpAddr, String)]) -> Vec<(PathBuf, String)> {
    let further: String = hosts.iter().map(|(address, name)| format!("{address} {name}\n")).collect();
    let resolvers: String = resolvers.iter().map(|address| format!("nameserver {address}\n")).collect();
    [
        ("/etc/passwd", PASSWD.to_owned()),
        ("/etc/group", GROUP.to_owned()),
        ("/etc/hosts", format!("{HOSTS}{further}")),
        ("/etc/resolv.conf", resolvers),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ]
    .map(|(path, content)| (PathBuf::from(path), content))
    .to_vec()
}

/// The machine's name servers, as far as they can be reached from another network namespace: a stub on loopback cannot,
/// so the servers behind it are asked instead.
pub(super) fn resolvers(shares_loopback: bool) -> Vec<IpAddr> {
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .map(|text| name_servers(&text))
        .map(|servers| {
            servers.into_iter().filter(|server| shares_loopback || !server.is_loopback()).collect::<Vec<_>>()
        })
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    values.filter_map(|value| value.trim().parse().ok()).collect()
}

fn same(path: impl AsRef<Path>) -> Bind {
    Bind { source: path.as_ref().to_owned(), target: path.as_ref().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text =
            "# nameserver 1.1.1.1\nsearch example.com\nnameserver 10.0.0.2\nnameserver  fd00::2\noptions edns0\n";
        assert_eq!(
            name_servers(text),
            ["10.0.0.2".parse::<IpAddr>(), "fd00::2".parse()].map(|ip| ip.expect("an address"))
        );
    }
}
