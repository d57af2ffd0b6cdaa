//! `fgmf keygen` and `fgmf sign`.

use crate::arguments::{Arguments, Keygen, Sign};
use crate::console;
use crate::outcome::Outcome;
use anyhow::{Context as _, Result};
use fgmf::Error;
use fgmf::attest::{PrivateKey, sign_bundle};
use fgmf::store::{Folder, write};
use fgmf::study::{BUNDLE, STATEMENT, verify_files};
use rand_core::{OsRng, TryRngCore};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Random numbers of the system: for what must not be guessed.
pub(super) fn entropy() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .context("random numbers of the system")?;
    Ok(bytes)
}

pub(crate) fn keygen(global: &Arguments, a: &Keygen) -> Result<Outcome> {
    let key = PrivateKey::from_entropy(&entropy()?)?;
    let public = a.out.with_extension("pub.pem");
    new_file(&a.out, &key.to_pem()?)?;
    write(&public, key.public().to_pem()?.as_bytes())?;
    let text = format!(
        "{}: keep it secret\n{}: give it away",
        a.out.display(),
        public.display()
    );
    console::say(global.quiet, &text);
    Ok(Outcome::Done)
}

/// Writes a file that only its owner reads, and never over another one.
fn new_file(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(Error::io(path))?;
    let put = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    Ok(put.map_err(Error::io(path))?)
}

pub(crate) fn sign(global: &Arguments, a: &Sign) -> Result<Outcome> {
    let pem = std::fs::read_to_string(&a.key).map_err(Error::io(&a.key))?;
    let key = PrivateKey::from_pem(&a.key, &pem)?;
    let _claim = Folder::claim(&a.audit)?;
    // What is signed is what lies there.
    let rows = verify_files(&a.audit, None)?;
    if let Some(fault) = rows.iter().flat_map(|r| &r.faults).next() {
        let text = format!("expected an audit as it was written, found: {fault}");
        return Err(Error::record(&a.audit, text).into());
    }
    let path = a.audit.join(STATEMENT);
    let statement = std::fs::read(&path).map_err(Error::io(&path))?;
    let bundle = sign_bundle(&statement, &key)?;
    write(&a.audit.join(BUNDLE), bundle.as_bytes())?;
    let signed = a.audit.join(BUNDLE);
    console::say(global.quiet, &format!("signed: {}", signed.display()));
    Ok(Outcome::Done)
}
