//! Deployment packages: checking and unpacking a zip that anybody may have made.
//!
//! Sizes are counted while bytes come out, never believed. Nothing is written outside the folder: names are taken apart
//! into plain components, and symbolic links are made last, so no file is ever written through one.
//! <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use zip::ZipArchive;

/// Entries of one package at most: a bomb of empty files costs inodes instead of bytes.
const MAX_ENTRIES: usize = 200_000;
/// A symbolic link's target at most, bytes.
const MAX_LINK: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again.")]
    NotAZip(#[source] Option<zip::result::ZipError>),
    #[error("Unzipped size must be smaller than {0} bytes")]
    TooLarge(u64),
    #[error("the package cannot be unpacked")]
    Io(#[from] io::Error),
}

impl From<zip::result::ZipError> for PackageError {
    fn from(error: zip::result::ZipError) -> Self {
        match error {
            zip::result::ZipError::Io(error) => Self::Io(error),
            other => Self::NotAZip(Some(other)),
        }
    }
}

/// Unpacks `zip` into the empty folder `into`; at most `limit` bytes of content.
pub fn unpack(zip: impl Read + Seek, into: &Path, limit: u64) -> Result<(), PackageError> {
    let mut archive = ZipArchive::new(zip).map_err(|error| PackageError::NotAZip(Some(error)))?;
    if archive.len() > MAX_ENTRIES {
        return Err(PackageError::TooLarge(limit));
    }
    let mut left = limit;
    let mut links = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let path = into.join(plain(&entry.name()?)?);
        let mode = entry.unix_mode();
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(|_| PackageError::NotAZip(None))?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|_| PackageError::NotAZip(None))?;
        }
        if entry.is_symlink() {
            let mut target = String::new();
            (&mut entry).take(MAX_LINK).read_to_string(&mut target).map_err(|_| PackageError::NotAZip(None))?;
            links.push((path, target));
            continue;
        }
        let mut file = File::create(&path).map_err(|_| PackageError::NotAZip(None))?;
        left = copy(&mut entry, &mut file, left)?.ok_or(PackageError::TooLarge(limit))?;
        file.set_permissions(Permissions::from_mode(readable(mode)))?;
    }
    for (path, target) in links {
        symlink(target, path).map_err(|_| PackageError::NotAZip(None))?;
    }
    Ok(())
}

/// Copies all of `from`; what is left of the budget, or `None` when it ran out. A damaged stream is the package's fault,
/// a full disk is ours.
fn copy(from: &mut impl Read, to: &mut impl Write, mut left: u64) -> Result<Option<u64>, PackageError> {
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(Some(left)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(PackageError::NotAZip(None)),
        };
        left = match left.checked_sub(read as u64) {
            Some(left) => left,
            None => return Ok(None),
        };
        to.write_all(&buffer[..read])?;
    }
}

/// The entry's path below the folder; anything that would leave it is no package.
fn plain(name: &str) -> Result<PathBuf, PackageError> {
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(PackageError::NotAZip(None));
            }
        }
    }
    match path.as_os_str().is_empty() && !name.ends_with('/') {
        true => Err(PackageError::NotAZip(None)),
        false => Ok(path),
    }
}

/// The entry's own bits, readable by the function's user in any case: archives made by programs often say 0600.
fn readable(mode: Option<u32>) -> u32 {
    let mode = mode.unwrap_or(0o644) & 0o777;
    if mode & 0o100 != 0 { mode | 0o555 } else { mode | 0o444 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn made(build: impl FnOnce(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Cursor<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        build(&mut writer);
        Cursor::new(writer.finish().unwrap().into_inner())
    }

    fn file(writer: &mut ZipWriter<Cursor<Vec<u8>>>, name: &str, mode: u32, content: &[u8]) {
        writer.start_file(name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        writer.write_all(content).unwrap();
    }

    #[test]
    fn files_keep_their_bits_and_are_readable() {
        let into = tempfile::tempdir().unwrap();
        let zip = made(|w| {
            file(w, "app.py", 0o600, b"x = 1");
            file(w, "bin/tool", 0o700, b"#!/bin/sh");
        });
        unpack(zip, into.path(), 1000).unwrap();
        let mode = |name: &str| fs::metadata(into.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("app.py"), mode("bin/tool")), (0o644, 0o755));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["../evil", "a/../../evil", "/etc/evil"] {
            let into = tempfile::tempdir().unwrap();
            let inner = into.path().join("tree");
            fs::create_dir(&inner).unwrap();
            // The writer cleans names up, so the hostile one is patched in afterwards.
            let safe: String = name.chars().map(|c| if c == '.' || c == '/' { '_' } else { c }).collect();
            let mut bytes = made(|w| file(w, &safe, 0o644, b"x")).into_inner();
            let (from, to) = (safe.as_bytes(), name.as_bytes());
            for at in 0..bytes.len() - from.len() {
                if &bytes[at..at + from.len()] == from {
                    bytes[at..at + to.len()].copy_from_slice(to);
                }
            }
            assert!(matches!(unpack(Cursor::new(bytes), &inner, 1000), Err(PackageError::NotAZip(_))), "{name}");
            assert!(!into.path().join("evil").exists());
        }
    }

    #[test]
    fn nothing_is_written_through_a_symbolic_link() {
        let outside = tempfile::tempdir().unwrap();
        let into = tempfile::tempdir().unwrap();
        let zip = made(|w| {
            w.add_symlink("link", outside.path().to_str().unwrap(), SimpleFileOptions::default()).unwrap();
            file(w, "link/evil", 0o644, b"x");
        });
        assert!(unpack(zip, into.path(), 1000).is_err());
        assert!(!outside.path().join("evil").exists());
    }

    #[test]
    fn symbolic_links_are_kept() {
        let into = tempfile::tempdir().unwrap();
        let zip = made(|w| {
            file(w, "lib/libx.so.1", 0o644, b"elf");
            w.add_symlink("lib/libx.so", "libx.so.1", SimpleFileOptions::default()).unwrap();
        });
        unpack(zip, into.path(), 1000).unwrap();
        assert_eq!(fs::read(into.path().join("lib/libx.so")).unwrap(), b"elf");
    }

    #[test]
    fn a_bomb_stops_at_the_limit_whatever_its_header_says() {
        let into = tempfile::tempdir().unwrap();
        let zip = made(|w| file(w, "zeros", 0o644, &vec![0; 4 << 20]));
        assert!(zip.get_ref().len() < 64 << 10, "it is a bomb");
        let error = unpack(zip, into.path(), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "Unzipped size must be smaller than 1048576 bytes");
    }

    #[test]
    fn what_is_no_zip_is_refused_in_awss_words() {
        let into = tempfile::tempdir().unwrap();
        let error = unpack(Cursor::new(b"not a zip".to_vec()), into.path(), 1000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        );
    }
}
