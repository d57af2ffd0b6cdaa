//! Every call by which the library changes a disk.
//!
//! Each call is a point at which a test can kill the process, or let the call fail. The environment
//! variable `FGMF_FAULT` says where: `kill:N`, `panic:N` or `error:N`, calls counted from 1.
//! Whatever the point, the same command without it must then end like one that nobody disturbed.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a test asked for.
#[derive(Clone)]
struct Fault {
    what: String,
    at: u64,
}

fn fault() -> Option<&'static Fault> {
    static ASKED: OnceLock<Option<Fault>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("FGMF_FAULT").ok()?;
        let (what, at) = text.split_once(':')?;
        Some(Fault {
            what: what.to_owned(),
            at: at.parse().ok()?,
        })
    });
    asked.as_ref()
}

fn point() -> Result<()> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let Some(fault) = fault() else {
        return Ok(());
    };
    if CALLS.fetch_add(1, Ordering::Relaxed) + 1 != fault.at {
        return Ok(());
    }
    match fault.what.as_str() {
        "kill" => std::process::abort(),
        "panic" => unreachable!("a fault that FGMF_FAULT asked for"),
        _ => {}
    }
    Err(Error::other("a fault that FGMF_FAULT asked for"))
}

pub(crate) fn create(path: &Path) -> Result<File> {
    point()?;
    File::create(path)
}

pub(crate) fn append(path: &Path) -> Result<File> {
    point()?;
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
}

/// Drops what is behind the first `len` bytes, if anything is.
pub(crate) fn cut(file: &File, len: u64) -> Result<()> {
    if file.metadata()?.len() == len {
        return Ok(());
    }
    point()?;
    file.set_len(len)?;
    sync(file)
}

pub(crate) fn put(file: &mut impl Write, bytes: &[u8]) -> Result<()> {
    point()?;
    file.write_all(bytes)
}

pub(crate) fn sync(file: &File) -> Result<()> {
    point()?;
    file.sync_all()
}

/// Takes the place of what stands at `to`. The new name is on the disk when this returns.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    point()?;
    std::fs::rename(from, to)?;
    sync_folder(to)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    point()?;
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it, if they are not there.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    point()?;
    std::fs::create_dir_all(path)
}

/// A new name reaches the disk with its folder. Elsewhere than on Unix a folder cannot be opened.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    point()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
