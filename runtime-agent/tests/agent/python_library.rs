//! AWS's runtime interface client and SDK for Python, installed once by pip into the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use warmpod_link::worker::RuntimeSpec;

const PACKAGES: [&str; 2] = ["awslambdaric==4.2.2", "boto3==1.44.8"];

/// Python as a runtime; `None`, said loudly, where it cannot be had.
pub fn python(warm: bool) -> Option<RuntimeSpec> {
    let (interpreter, library) = library()?;
    Some(RuntimeSpec::Python { interpreter, library: vec![library], warm })
}

/// The interpreter, and the folder of the packages.
pub fn library() -> Option<(PathBuf, PathBuf)> {
    static LIBRARY: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    LIBRARY.get_or_init(install).clone()
}

fn install() -> Option<(PathBuf, PathBuf)> {
    let skipped = |why: String| {
        eprintln!("\n*** SKIPPED: tests with Python: {why}\n");
        None
    };
    let Ok(output) = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output() else {
        return skipped("there is no python3".to_owned());
    };
    let interpreter = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-library");
    let done = library.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|packages| packages == PACKAGES.join(" ")) {
        return Some((interpreter, library));
    }
    let pip = Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"])
        .arg(&library)
        .args(PACKAGES)
        .output();
    match pip {
        Ok(output) if output.status.success() => {
            std::fs::write(done, PACKAGES.join(" ")).ok()?;
            Some((interpreter, library))
        }
        Ok(output) => skipped(format!("pip failed: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => skipped(format!("pip cannot be run: {error}")),
    }
}
