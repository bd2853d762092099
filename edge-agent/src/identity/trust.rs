//! The public keys whose package signatures count on this node.

use std::fs;
use std::path::{Path, PathBuf};

use millwright_package::{KeyError, TrustKeys};
use millwright_proto::Digest;
use thiserror::Error;

use crate::data_dir::{DataDirError, Layout, READABLE, make_private_dir, replace_file};

/// Largest key file: a PEM public key has 178 bytes, so this holds more keys than are allowed.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why trust keys cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error("cannot read trust key {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file is too large to be a key.
    #[error(
        "trust key {path} is larger than {KEY_FILE_BYTES_MAX} bytes: is it a public key in PEM form?"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is not a public key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A copy could not be stored.
    #[error(transparent)]
    Store(#[from] DataDirError),
}

/// Reads the keys in `files`.
///
/// # Errors
/// When one cannot be read or is no key.
pub fn read(files: &[PathBuf]) -> Result<TrustKeys, TrustError> {
    let texts = files
        .iter()
        .map(|path| Ok((path.display().to_string(), text(path)?)))
        .collect::<Result<Vec<_>, TrustError>>()?;
    let pems = texts
        .iter()
        .map(|(origin, text)| (origin.as_str(), text.as_str()));
    Ok(TrustKeys::from_pems(pems)?)
}

/// Reads every `*.pem` in the trust directory; a missing directory holds no keys.
///
/// # Errors
/// When one cannot be read or is no key.
pub fn load(layout: &Layout) -> Result<TrustKeys, TrustError> {
    let directory = layout.trust();
    let mut files = Vec::new();
    match fs::read_dir(&directory) {
        Ok(entries) => {
            for entry in entries {
                let path = entry
                    .map_err(|source| unreadable(&directory, source))?
                    .path();
                if path.extension().is_some_and(|extension| extension == "pem") {
                    files.push(path);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(unreadable(&directory, source)),
    }
    files.sort();
    read(&files)
}

/// Copies keys into the trust directory, named by their content, so that a key given twice is there
/// once.
///
/// # Errors
/// When a copy cannot be written.
pub fn install(layout: &Layout, files: &[PathBuf]) -> Result<(), TrustError> {
    if files.is_empty() {
        return Ok(());
    }
    read(files)?;
    let directory = layout.trust();
    make_private_dir(&directory).map_err(|source| DataDirError::File {
        operation: "create",
        path: directory.clone(),
        source,
    })?;
    for path in files {
        let text = text(path)?;
        let name = &Digest::of(text.as_bytes()).to_hex()[..16];
        let copy = directory.join(format!("{name}.pem"));
        replace_file(&copy, text.as_bytes(), READABLE)?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, TrustError> {
    let length = fs::metadata(path)
        .map_err(|source| unreadable(path, source))?
        .len();
    if length > KEY_FILE_BYTES_MAX {
        return Err(TrustError::TooLarge {
            path: path.to_owned(),
        });
    }
    fs::read_to_string(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: std::io::Error) -> TrustError {
    TrustError::Read {
        path: path.to_owned(),
        source,
    }
}
