//! Content-addressed files: deployment packages as they were uploaded, and their unpacked trees.
//!
//! ```text
//!  DATA_DIR/blobs/<sha256>      the zip, fsynced before anyone hears of it
//!  DATA_DIR/code/<sha256>/      what is shown at /var/task; can be made again from the zip at any time
//! ```
//! Both are written under a temporary name and renamed, so a name that exists is whole. The folder of trees can be
//! searched but not listed by others: a worker's mapped user reaches a tree by its hash alone.

use super::StoreError;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files that nobody names are left alone for this long.
const YOUNG: Duration = Duration::from_secs(15 * 60);

/// The SHA-256 of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest256(pub [u8; 32]);

impl Digest256 {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for Digest256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

#[derive(Clone, Debug)]
pub struct Blobs {
    blobs: PathBuf,
    code: PathBuf,
}

impl Blobs {
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let this = Self { blobs: data_dir.join("blobs"), code: data_dir.join("code") };
        let prepare = |path: &Path, mode| {
            fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        };
        prepare(data_dir, 0o711)
            .and_then(|()| prepare(&this.blobs, 0o700))
            .and_then(|()| prepare(&this.code, 0o711))
            .map_err(|error| StoreError::DataDir(data_dir.to_owned(), error))?;
        Ok(this)
    }

    pub fn path(&self, digest: Digest256) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    pub fn code_path(&self, digest: Digest256) -> PathBuf {
        self.code.join(digest.hex())
    }

    /// Writes a blob durably. Blocks.
    pub fn put(&self, digest: Digest256, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.blobs)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        File::open(&self.blobs)?.sync_all()
    }

    pub fn read(&self, digest: Digest256) -> io::Result<Vec<u8>> {
        fs::read(self.path(digest))
    }

    /// The unpacked tree of a blob, made by `unpack` where it is missing. Blocks.
    pub fn code<E: From<io::Error>>(
        &self,
        digest: Digest256,
        unpack: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.code_path(digest);
        if path.exists() {
            return Ok(path);
        }
        let folder = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(&self.code)?;
        let tree = folder.path().join("tree");
        fs::create_dir(&tree)?;
        fs::set_permissions(&tree, Permissions::from_mode(0o755))?;
        unpack(&tree)?;
        match fs::rename(&tree, &path) {
            Ok(()) => Ok(path),
            // Another call was faster with the same content.
            Err(_) if path.exists() => Ok(path),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes blobs and trees that are not wanted any more, and what an interrupted write left. Blocks.
    pub fn sweep(&self, wanted: impl Fn(Digest256) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for folder in [&self.blobs, &self.code] {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_str().and_then(Digest256::from_hex).is_some_and(&wanted) {
                    continue;
                }
                // What is young may be on its way to becoming a function's.
                let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
                if age < YOUNG {
                    continue;
                }
                let path = entry.path();
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(path)?,
                    false => fs::remove_file(path)?,
                }
                removed += 1;
            }
        }
        Ok(removed)
    }
}
