//! Running a Python program in a sandbox, by `warmpod-agent try`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use warmpod_link::Trial;
use warmpod_link::trial::{NO_SANDBOX, Shown};
use warmpod_link::worker::{Bind, IdMap, Layers, Network, SandboxSpec};

/// An ordinary user of the machine, for tests that run as root.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Root,
    Ordinary,
}

impl User {
    /// Those that tests can be here.
    pub fn all() -> &'static [User] {
        if rustix::process::geteuid().is_root() { &[User::Root, User::Ordinary] } else { &[User::Ordinary] }
    }
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
pub struct Sandbox {
    pub user: User,
    pub spec: SandboxSpec,
    pub attach: Option<Shown>,
    pub folder: TempDir,
}

impl Sandbox {
    /// With all layers that this machine has.
    pub fn of(user: User) -> Sandbox {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = TempDir::new().expect("a temporary folder can be made");
        open_to_all(folder.path());
        for name in ["code", "code/mine", "code/other", "code/layer", "code/upper"] {
            std::fs::create_dir(folder.path().join(name)).expect("a new folder can be made");
        }
        let base = 0x7000_0000 + 65536 * (std::process::id() % 1024 + NEXT.fetch_add(1, Ordering::Relaxed));
        let mut read_only: Vec<PathBuf> =
            ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache"].iter().map(PathBuf::from).collect();
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the machine that everybody may read.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the test's own folder is writable");
        path
    }

    /// Shows `code/mine`, and of the layers what is named.
    pub fn shows(mut self, layers: &[&str]) -> Sandbox {
        let layers = layers.iter().map(|name| self.path("code").join(name)).collect();
        self.attach = Some(Shown { code: self.path("code/mine"), layers, ephemeral_mib: 16 });
        self
    }

    pub fn command(&self, program: &[&str]) -> Result<Output, String> {
        let trial = Trial {
            sandbox: Some(self.spec.clone()),
            attach: self.attach.clone(),
            command: program.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmpod-agent"));
        command.arg("try").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("SECRET_OF_THE_AGENT", "1");
        if self.user == User::Ordinary && rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let bytes = postcard::to_stdvec(&trial).map_err(|error| error.to_string())?;
        child.stdin.take().expect("it is piped").write_all(&bytes).map_err(|error| error.to_string())?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if output.status.code() == Some(i32::from(NO_SANDBOX)) {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(output)
    }

    /// Runs a Python program. Its last line is what it says.
    pub fn python(&self, script: &str) -> Said {
        let executable = PYTHON.executable.to_str().expect("an interpreter's path is text");
        let output = self.command(&[executable, "-c", script]).expect("the sandbox can be made");
        Said {
            status: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub text: String,
    pub errors: String,
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("the test's own folder");
}
