//! Whether the machine forwards packets. One switch for the whole machine: the first bridge of any installation puts it
//! on, the last one to go puts it back as it was. A file that is locked meanwhile holds what it was.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
/// There and not empty: forwarding was off before the first bridge.
const WAS_OFF: &str = "/run/warmpod-forwarding";

pub(super) struct Forwarding {
    /// Locked until this is dropped.
    was_off: File,
}

impl Forwarding {
    pub(super) fn lock() -> io::Result<Forwarding> {
        loop {
            let file = OpenOptions::new().create(true).append(true).open(WAS_OFF)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // The one before may have removed it.
            if fs::metadata(WAS_OFF).is_ok_and(|there| file.metadata().is_ok_and(|mine| mine.ino() == there.ino())) {
                return Ok(Forwarding { was_off: file });
            }
        }
    }

    pub(super) fn switch_on(&self) -> io::Result<()> {
        if fs::read_to_string(SWITCH)?.trim() == "0" {
            io::Write::write_all(&mut &self.was_off, b"0")?;
            fs::write(SWITCH, "1")?;
        } else if self.was_off.metadata()?.len() == 0 {
            fs::remove_file(WAS_OFF)?;
        }
        Ok(())
    }

    /// Once the caller's bridge is gone.
    pub(super) fn switch_off_after_the_last(&self) {
        let was_off = self.was_off.metadata().is_ok_and(|file| file.len() > 0);
        if another_bridge() && was_off {
            return;
        }
        if was_off {
            let _ = fs::write(SWITCH, "0");
        }
        let _ = fs::remove_file(WAS_OFF);
    }
}

/// A bridge of another installation.
fn another_bridge() -> bool {
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    links.map(|link| link.path()).any(|link| {
        let ours = link.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("wp"));
        ours && Path::new(&link).join("bridge").exists()
    })
}
