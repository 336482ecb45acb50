//! The machine's own interpreters, and which runtime each can be. Found once, at the start.
//!
//! A runtime needs two things: an interpreter of its language (of the same minor version, or the nearest there is) and
//! AWS's runtime interface client for that version, in `RUNTIMES_DIR/python/<minor>`.

use super::super::StartError;
use super::machine::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use tokio::process::Command;
use tokio::task::JoinSet;

/// An installed Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Python {
    /// 12 of 3.12.
    pub(super) minor: u8,
    pub(super) executable: PathBuf,
    /// What has to be shown in the sandbox for it to run.
    pub(super) prefix: PathBuf,
    /// The runtime interface client and the SDK for it.
    pub(super) client: PathBuf,
}

#[derive(Debug, Default)]
pub(super) struct Interpreters {
    /// By minor version.
    pythons: BTreeMap<u8, Python>,
    /// Installed, but without a runtime interface client.
    clientless: BTreeSet<u8>,
    runtimes_dir: PathBuf,
    exact: bool,
    /// Versions of which the log has said that they run on another one.
    said: Mutex<BTreeSet<u8>>,
}

/// What a runtime's identifier stands for here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Provided,
    Python(Python),
}

impl Interpreters {
    /// Asks every Python that can be found. `path` is the variable of that name.
    pub(super) async fn find(
        path: Option<&str>,
        home: Option<&Path>,
        runtimes_dir: &Path,
        exact: bool,
    ) -> Interpreters {
        let mut asked = JoinSet::new();
        for executable in executables(path, home) {
            asked.spawn(ask(executable));
        }
        let mut found = Interpreters { runtimes_dir: runtimes_dir.to_owned(), exact, ..Interpreters::default() };
        let mut answers: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
        // The machine's own before those that a user installed, so that an answer does not depend on timing.
        answers.sort_by_key(|(_, executable, prefix)| (!prefix.starts_with("/usr"), executable.clone()));
        for (minor, executable, prefix) in answers {
            let client = runtimes_dir.join(format!("python/3.{minor}"));
            if client.join("awslambdaric").is_dir() {
                found.pythons.entry(minor).or_insert(Python { minor, executable, prefix, client });
            } else {
                found.clientless.insert(minor);
            }
        }
        found
    }

    /// What there is of each language, for `doctor`.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let ready: Vec<String> = self
            .pythons
            .values()
            .map(|python| format!("3.{} ({})", python.minor, python.executable.display()))
            .collect();
        let without: Vec<String> = self
            .clientless
            .iter()
            .filter(|minor| !self.pythons.contains_key(minor))
            .map(|minor| format!("3.{minor}"))
            .collect();
        let mut details = Vec::new();
        if !ready.is_empty() {
            details.push(ready.join(", "));
        }
        if !without.is_empty() {
            let folder = self.runtimes_dir.join("python");
            details.push(format!("without a runtime interface client in {}: {}", folder.display(), without.join(", ")));
        }
        if details.is_empty() {
            details.push("no python3 was found on PATH, in /usr/bin, /usr/local/bin or ~/.pyenv".to_owned());
        }
        vec![Finding {
            layer: "runtime python3.x",
            on: !ready.is_empty(),
            detail: details.join("; "),
            advice: ready.is_empty().then_some(
                "functions of python3.x cannot run; install python3 and `pip install --target \
                 RUNTIMES_DIR/python/3.N awslambdaric boto3` with it",
            ),
        }]
    }

    /// What runs functions of `runtime`, or what to install so that something does.
    pub(super) fn offer(&self, runtime: &str) -> Result<Offer, StartError> {
        if matches!(runtime, "provided" | "provided.al2" | "provided.al2023") {
            return Ok(Offer::Provided);
        }
        let minor = runtime.strip_prefix("python3.").and_then(|minor| minor.parse().ok());
        let Some(minor) = minor else {
            return Err(StartError::RuntimeMissing(format!(
                "the runtime {runtime} is not supported yet; this version runs python3.x, provided.al2 and \
                 provided.al2023"
            )));
        };
        let nearest = self.pythons.values().min_by_key(|python| (python.minor.abs_diff(minor), python.minor < minor));
        match nearest {
            Some(python) if python.minor == minor => Ok(Offer::Python(python.clone())),
            Some(python) if !self.exact => {
                self.say_once(minor, python);
                Ok(Offer::Python(python.clone()))
            }
            _ => Err(StartError::RuntimeMissing(self.missing(minor))),
        }
    }

    /// That functions of a version run on another one.
    fn say_once(&self, wanted: u8, python: &Python) {
        if self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted) {
            let advice = self.missing(wanted);
            tracing::warn!("functions of python3.{wanted} run on python3.{}: {advice}", python.minor);
        }
    }

    fn missing(&self, minor: u8) -> String {
        let folder = self.runtimes_dir.join(format!("python/3.{minor}"));
        if self.clientless.contains(&minor) {
            return format!(
                "python3.{minor} is installed, but its runtime interface client is not in {folder}; install it with \
                 `python3.{minor} -m pip install --target {folder} awslambdaric boto3`",
                folder = folder.display()
            );
        }
        let others: Vec<String> = self.pythons.keys().map(|minor| format!("python3.{minor}")).collect();
        let hint = match (others.is_empty(), self.exact) {
            (false, true) => format!("; without --exact-runtimes it would run on the nearest of {}", others.join(", ")),
            _ => String::new(),
        };
        format!(
            "no python3.{minor} is installed; install it (and its runtime interface client into {}){hint}",
            folder.display()
        )
    }
}

/// Real executables that may be a Python 3, each once.
fn executables(path: Option<&str>, home: Option<&Path>) -> BTreeSet<PathBuf> {
    let named = path.unwrap_or_default().split(':').filter(|folder| folder.starts_with('/')).map(PathBuf::from);
    let usual = ["/usr/bin", "/usr/local/bin"].into_iter().map(PathBuf::from);
    let versions = home.map(|home| home.join(".pyenv/versions")).into_iter();
    let versions = versions.flat_map(|versions| fs::read_dir(versions).into_iter().flatten().flatten());
    let folders: BTreeSet<PathBuf> = named.chain(usual).chain(versions.map(|entry| entry.path().join("bin"))).collect();
    folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_str().is_some_and(is_python))
        .filter_map(|entry| fs::canonicalize(entry.path()).ok())
        .filter(|file| is_program(file))
        .collect()
}

/// `python3` or `python3.12`.
fn is_python(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("python3") else { return false };
    rest.is_empty() || rest.strip_prefix('.').is_some_and(|minor| minor.parse::<u8>().is_ok())
}

/// Not a script, such as a version manager's that stands in for the real one.
fn is_program(file: &Path) -> bool {
    let mut magic = [0; 4];
    let readable = fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic)).is_ok();
    readable && magic == *b"\x7fELF" && fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

/// Its minor version, its executable and its prefix, as it says itself.
async fn ask(executable: PathBuf) -> Option<(u8, PathBuf, PathBuf)> {
    const QUESTION: &str = "import sys; print(sys.version_info[1]); print(sys.base_prefix)";
    let answer = Command::new(&executable)
        .args(["-I", "-S", "-c", QUESTION])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let mut lines = text.lines();
    let (minor, prefix) = (lines.next()?.parse().ok()?, PathBuf::from(lines.next()?));
    answer.status.success().then_some((minor, executable, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(minors: &[u8], exact: bool) -> Interpreters {
        let python = |minor: u8| Python {
            minor,
            executable: format!("/usr/bin/python3.{minor}").into(),
            prefix: "/usr".into(),
            client: format!("/runtimes/python/3.{minor}").into(),
        };
        let pythons = minors.iter().map(|minor| (*minor, python(*minor))).collect();
        Interpreters {
            pythons,
            clientless: BTreeSet::from([14]),
            runtimes_dir: "/runtimes".into(),
            exact,
            ..Interpreters::default()
        }
    }

    fn minor_for(interpreters: &Interpreters, runtime: &str) -> Option<u8> {
        match interpreters.offer(runtime) {
            Ok(Offer::Python(python)) => Some(python.minor),
            _ => None,
        }
    }

    #[test]
    fn the_exact_version_is_taken_then_the_nearest_and_of_two_the_newer() {
        let interpreters = with(&[9, 11, 13], false);
        for (wanted, taken) in [("python3.11", 11), ("python3.12", 13), ("python3.8", 9), ("python3.14", 13)] {
            assert_eq!(minor_for(&interpreters, wanted), Some(taken), "{wanted}");
        }
    }

    #[test]
    fn with_exact_runtimes_another_version_is_an_error_that_names_what_to_install() {
        let interpreters = with(&[11], true);
        assert_eq!(minor_for(&interpreters, "python3.11"), Some(11));
        let refused = interpreters.offer("python3.12").expect_err("it is not installed").to_string();
        assert!(refused.contains("no python3.12 is installed") && refused.contains("python3.11"), "{refused}");
        let refused = interpreters.offer("python3.14").expect_err("it has no client").to_string();
        assert!(refused.contains("pip install --target /runtimes/python/3.14 awslambdaric"), "{refused}");
    }

    #[test]
    fn an_unknown_runtime_is_named() {
        let refused = with(&[11], false).offer("nodejs22.x").expect_err("not in this version").to_string();
        assert!(refused.contains("nodejs22.x is not supported yet"), "{refused}");
    }

    #[test]
    fn only_real_names_are_pythons() {
        assert!(is_python("python3") && is_python("python3.9"));
        assert!(!is_python("python3-config") && !is_python("python3.9-config") && !is_python("python2"));
    }
}
