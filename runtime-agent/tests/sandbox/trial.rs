//! Running a Python program in a sandbox, by `warmpod-agent try`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use warmpod_link::Trial;
use warmpod_link::trial::{NO_SANDBOX, Shown};
use warmpod_link::worker::{Bind, IdMap, Layers, Network, SandboxSpec};

/// An ordinary user of the machine, for tests that run as root.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Ordinary,
}

impl User {
    /// Those that tests can be here.
    pub(crate) fn all() -> &'static [User] {
        if rustix::process::geteuid().is_root() { &[User::Root, User::Ordinary] } else { &[User::Ordinary] }
    }
}

fn ordinary() -> u32 {
    let own = rustix::process::geteuid();
    if own.is_root() { NOBODY } else { own.as_raw() }
}

/// An interpreter of this machine.
struct Python {
    executable: PathBuf,
    prefix: PathBuf,
}

/// One that the ordinary user can reach too.
static PYTHON: LazyLock<Python> = LazyLock::new(|| {
    let script = "import sys; print(sys.executable); print(sys.base_prefix)";
    let found = ["/usr/bin/python3", "/usr/local/bin/python3", "python3"].iter().find_map(|name| {
        let output = Command::new(name).args(["-c", script]).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    });
    let answer = found.expect("the tests of the sandbox need a python3");
    let mut lines = answer.lines().map(PathBuf::from);
    let mut next = || lines.next().expect("the script prints two lines");
    Python { executable: next(), prefix: next() }
});

/// A machine's folders for one test, and the sandbox it tries.
pub(crate) struct Sandbox {
    pub(crate) user: User,
    pub(crate) spec: SandboxSpec,
    pub(crate) attach: Option<Shown>,
    pub(crate) folder: TempDir,
}

impl Sandbox {
    /// With all layers that this machine has.
    pub(crate) fn of(user: User) -> Sandbox {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Not /tmp, which Landlock alone cannot hide.
        let folder = TempDir::new_in("/var/tmp").expect("a temporary folder can be made");
        open_to_all(folder.path());
        for name in ["code", "code/mine", "code/other", "code/layer", "code/upper"] {
            std::fs::create_dir(folder.path().join(name)).expect("a new folder can be made");
        }
        let base = 0x7000_0000 + 65536 * (std::process::id() % 1024 + NEXT.fetch_add(1, Ordering::Relaxed));
        let mut read_only: Vec<PathBuf> =
            ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache"].iter().map(PathBuf::from).collect();
        // Debian's Java keeps its settings there.
        let of_etc = std::fs::read_dir("/etc").into_iter().flatten().flatten();
        let settings = of_etc.filter(|entry| entry.file_name().to_string_lossy().starts_with("java"));
        read_only.extend(settings.map(|entry| entry.path()).chain(["/etc/alternatives".into()]));
        if !PYTHON.prefix.starts_with("/usr") {
            read_only.push(PYTHON.prefix.clone());
        }
        let spec = SandboxSpec {
            read_only: read_only.into_iter().map(|path| Bind { source: path.clone(), target: path }).collect(),
            files: vec![
                ("/etc/passwd".into(), "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n".into()),
                ("/etc/hosts".into(), "127.0.0.1 localhost\n".into()),
            ],
            code: folder.path().join("code"),
            cgroups: Vec::new(),
            ids: if user == User::Root { IdMap::Range { base } } else { IdMap::Single },
            network: Network::Loopback,
            layers: Layers::ALL,
        };
        Sandbox { user, spec, attach: None, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The function's user as the machine sees it.
    pub(crate) fn outer_uid(&self) -> u32 {
        match self.spec.ids {
            IdMap::Range { base } => base + 993,
            IdMap::Single => ordinary(),
        }
    }

    /// A file of the machine that everybody may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the test's own folder is writable");
        path
    }

    /// Shows `code/mine`, and of the layers what is named.
    pub(crate) fn shows(mut self, layers: &[&str]) -> Sandbox {
        let layers = layers.iter().map(|name| self.path("code").join(name)).collect();
        self.attach = Some(Shown { code: self.path("code/mine"), layers, ephemeral_mib: 16 });
        self
    }

    pub(crate) fn command(&self, program: &[&str]) -> Result<Output, String> {
        let output = self.spawn(program).wait_with_output().map_err(|error| error.to_string())?;
        if output.status.code() == Some(i32::from(NO_SANDBOX)) {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(output)
    }

    /// Starts a Python program, and does not wait for it.
    pub(crate) fn start(&self, script: &str) -> Child {
        let executable = PYTHON.executable.to_str().expect("an interpreter's path is text");
        self.spawn(&[executable, "-c", &format!("{PRELUDE}\n{script}")])
    }

    fn spawn(&self, program: &[&str]) -> Child {
        let trial = Trial {
            sandbox: Some(self.spec.clone()),
            attach: self.attach.clone(),
            command: program.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
        };
        let agent = self.path("warmpod-agent");
        if !agent.exists() {
            // The ordinary user may not reach the build's folder.
            // By another process: a writable descriptor in this one could be inherited, and hold up the exec.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_warmpod-agent")).arg(&agent).status();
            assert!(copied.is_ok_and(|status| status.success()), "the test's own folder is writable");
        }
        let mut command = Command::new(agent);
        command.arg("try").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("SECRET_OF_THE_AGENT", "1");
        if self.user == User::Ordinary && rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().expect("the agent can be started");
        let bytes = postcard::to_stdvec(&trial).expect("a trial can be written");
        child.stdin.take().expect("it is piped").write_all(&bytes).expect("the agent reads it");
        child
    }

    /// Runs a Python program, and answers what it prints.
    pub(crate) fn python(&self, script: &str) -> String {
        let executable = PYTHON.executable.to_str().expect("an interpreter's path is text");
        let script = format!("{PRELUDE}\n{script}");
        let output = self.command(&[executable, "-c", &script]).expect("the sandbox can be made");
        assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

/// What every attempt may use. `attempt` says `out` if the call worked, else the error that stopped it.
const PRELUDE: &str = r#"
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
def attempt(what):
    try:
        what()
        print("out")
    except OSError as error:
        print("kept:", errno.errorcode.get(error.errno, error))
"#;

/// Runs a program on the machine, in no sandbox.
pub(crate) fn outside(script: &str) -> String {
    let script = format!("{PRELUDE}\n{script}");
    let output = Command::new(&PYTHON.executable).args(["-c", &script]).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("the test's own folder");
}
