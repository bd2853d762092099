//! The list of a package's files: what is signed, sent and stored.

use std::collections::BTreeMap;

use millwright_proto::Digest;
use thiserror::Error;

use crate::{MANIFEST_FILE, PackagePath, SIGNATURE_FILE};

/// Most files of one package. A model with external weights and a dozen golden sets has about 30;
/// each file costs about 200 bytes in every desired document that names the package.
pub const FILE_COUNT_MAX: usize = 256;

/// Most bytes of one package: more does not fit the devices this is for.
pub const PACKAGE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Why a list of files is not a package.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileListError {
    /// More than [`FILE_COUNT_MAX`].
    #[error("package has {0} files; at most {FILE_COUNT_MAX} are allowed")]
    Count(usize),
    /// More than [`PACKAGE_BYTES_MAX`].
    #[error("package is larger than {PACKAGE_BYTES_MAX} bytes")]
    Size,
    /// One path twice.
    #[error("package lists `{0}` twice")]
    Duplicate(PackagePath),
    /// One path is a file and also a directory of another.
    #[error("package lists `{file}` as a file and `{below}` inside it")]
    FileIsDirectory {
        /// The path listed as a file.
        file: PackagePath,
        /// The path below it.
        below: PackagePath,
    },
    /// No manifest.
    #[error("package has no {MANIFEST_FILE}")]
    NoManifest,
    /// The signature cannot cover itself.
    #[error("package lists {SIGNATURE_FILE}: the signature is kept beside the list, not in it")]
    ListsSignature,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it is in the package.
    pub path: PackagePath,
    /// Digest of its content. Signed.
    pub digest: Digest,
    /// Size in bytes. Not signed: a wrong one makes the digest fail after that many bytes.
    pub size_bytes: u64,
}

/// The files of a package, ordered by path, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileList(Vec<FileEntry>);

impl FileList {
    /// Orders `entries` and checks that they can be one package.
    ///
    /// # Errors
    /// When a bound is passed, two entries collide, or the manifest is missing.
    pub fn new(mut entries: Vec<FileEntry>) -> Result<Self, FileListError> {
        if entries.len() > FILE_COUNT_MAX {
            return Err(FileListError::Count(entries.len()));
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let list = Self(entries);
        list.check_size()?;
        list.check_paths()?;
        Ok(list)
    }

    fn check_size(&self) -> Result<(), FileListError> {
        let add = |sum: u64, entry: &FileEntry| sum.checked_add(entry.size_bytes);
        match self.0.iter().try_fold(0, add) {
            Some(sum) if sum <= PACKAGE_BYTES_MAX => Ok(()),
            Some(_) | None => Err(FileListError::Size),
        }
    }

    fn check_paths(&self) -> Result<(), FileListError> {
        let mut files: BTreeMap<&str, &PackagePath> = BTreeMap::new();
        for entry in &self.0 {
            if files.insert(entry.path.as_str(), &entry.path).is_some() {
                return Err(FileListError::Duplicate(entry.path.clone()));
            }
        }
        for entry in &self.0 {
            let text = entry.path.as_str();
            for (slash, _) in text.match_indices('/') {
                if let Some(file) = files.get(&text[..slash]) {
                    return Err(FileListError::FileIsDirectory {
                        file: (*file).clone(),
                        below: entry.path.clone(),
                    });
                }
            }
        }
        if files.contains_key(SIGNATURE_FILE) {
            return Err(FileListError::ListsSignature);
        }
        if !files.contains_key(MANIFEST_FILE) {
            return Err(FileListError::NoManifest);
        }
        Ok(())
    }

    /// The files, ordered by path.
    #[must_use]
    pub fn entries(&self) -> &[FileEntry] {
        &self.0
    }

    /// The file at `path`.
    #[must_use]
    pub fn get(&self, path: &PackagePath) -> Option<&FileEntry> {
        let at = self.0.binary_search_by(|entry| entry.path.cmp(path)).ok()?;
        self.0.get(at)
    }

    /// The manifest's entry.
    #[must_use]
    pub fn manifest(&self) -> &FileEntry {
        self.0
            .iter()
            .find(|entry| entry.path.as_str() == MANIFEST_FILE)
            .expect("the constructor refuses a list without a manifest")
    }

    /// Bytes of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.iter().map(|entry| entry.size_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size_bytes: u64) -> FileEntry {
        let digest = Digest::of(path.as_bytes());
        FileEntry {
            path: path.parse().unwrap(),
            digest,
            size_bytes,
        }
    }

    fn list(paths: &[&str]) -> Result<FileList, FileListError> {
        FileList::new(paths.iter().map(|path| entry(path, 1)).collect())
    }

    #[test]
    fn a_list_is_ordered_and_finds_its_files() {
        let list = list(&["model.yaml", "a", "golden/x"]).unwrap();
        let paths: Vec<_> = list.entries().iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["a", "golden/x", "model.yaml"]);
        assert_eq!(
            list.get(&"golden/x".parse().unwrap()),
            Some(&entry("golden/x", 1))
        );
        assert_eq!(list.get(&"golden".parse().unwrap()), None);
        assert_eq!(
            (list.manifest(), list.size_bytes()),
            (&entry("model.yaml", 1), 3)
        );
    }

    #[test]
    fn lists_that_are_no_package_are_refused() {
        assert_eq!(list(&["a"]), Err(FileListError::NoManifest));
        assert_eq!(
            list(&["model.sig", "model.yaml"]),
            Err(FileListError::ListsSignature)
        );
        let twice = list(&["model.yaml", "a", "a"]);
        assert_eq!(twice, Err(FileListError::Duplicate("a".parse().unwrap())));
        let nested = list(&["model.yaml", "a", "a-b", "a/b"]);
        assert!(
            matches!(nested, Err(FileListError::FileIsDirectory { .. })),
            "{nested:?}"
        );
        let names: Vec<String> = (0..=FILE_COUNT_MAX).map(|i| format!("f{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(list(&names), Err(FileListError::Count(257)));
    }

    #[test]
    fn sizes_are_summed_without_overflow() {
        let huge = FileList::new(vec![entry("model.yaml", u64::MAX), entry("a", u64::MAX)]);
        assert_eq!(huge, Err(FileListError::Size));
    }
}
