use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millwright_package::{FileEntry, FileList, SigningKey, TrustKeys};
use millwright_proto::ids::ModelVersion;

use super::*;
use crate::desired::list_digest;

const MANIFEST: &str = "
apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: detector, version: 1.0.0}
spec:
  file: model.onnx
  inputs: [{name: x, datatype: FP32, shape: [1]}]
  outputs: [{name: y, datatype: FP32, shape: [1]}]
";

/// Blobs in memory that break off after `breaks_after` bytes of an answer.
#[derive(Clone, Default)]
struct Blobs {
    contents: BTreeMap<Digest, Bytes>,
    breaks_after: Option<usize>,
    served: Arc<Mutex<Vec<(u64, u64)>>>,
}

struct Pieces(Vec<Result<Bytes, String>>);

impl BlobSource for Blobs {
    type Body = Pieces;

    async fn fetch(&self, digest: Digest, offset: u64, length: u64) -> Result<Pieces, String> {
        self.served.lock().unwrap().push((offset, length));
        let content = self.contents.get(&digest).ok_or("no such blob")?;
        let rest = content.slice(usize::try_from(offset).unwrap()..);
        let mut pieces: Vec<_> = rest
            .chunks(7)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        if let Some(bytes) = self.breaks_after {
            pieces.truncate(bytes / 7);
            pieces.push(Err("the link broke".to_owned()));
        }
        pieces.reverse();
        Ok(Pieces(pieces))
    }
}

impl BlobBody for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.0.pop().transpose()
    }
}

struct Scene {
    _dir: tempfile::TempDir,
    shelf: Shelf,
    package: PackageId,
    source: PackageSource,
    blobs: Blobs,
    key: SigningKey,
}

impl Scene {
    fn new() -> Self {
        Self::with("detector@1.0.0", MANIFEST)
    }

    fn with(version: &str, manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let version: ModelVersion = version.parse().unwrap();
        let contents = [
            ("model.yaml", manifest),
            ("model.onnx", "the graph, in forty bytes or so, at least"),
            ("doc/a.txt", ""),
        ];
        let entries = contents.iter().map(|(path, content)| FileEntry {
            path: path.parse().unwrap(),
            digest: Digest::of(content.as_bytes()),
            size_bytes: content.len() as u64,
        });
        let files = FileList::new(entries.collect()).unwrap();
        let key = SigningKey::generate().unwrap();
        let bundle = key.sign(&files, &version).unwrap();
        let contents = contents.iter().map(|(_, content)| {
            (
                Digest::of(content.as_bytes()),
                Bytes::from((*content).to_owned()),
            )
        });
        Self {
            shelf: Shelf::new(&Layout::at(dir.path())),
            _dir: dir,
            package: PackageId {
                version,
                digest: list_digest(&files),
            },
            source: PackageSource::Cloud { files, bundle },
            blobs: Blobs {
                contents: contents.collect(),
                ..Blobs::default()
            },
            key,
        }
    }

    fn trust(&self) -> TrustPolicy {
        let pem = self.key.public_pem();
        TrustPolicy::Keys(TrustKeys::from_pems([("key", pem.as_str())]).unwrap())
    }

    async fn download(&self) -> Result<(), FetchError> {
        download(&self.shelf, &self.package, &self.source, &self.blobs).await
    }

    fn verify(&self) -> Result<Verified, FetchError> {
        verify(
            &self.shelf,
            &self.package,
            Some(&self.source),
            &self.trust(),
        )
    }

    fn place(&self) -> PathBuf {
        self.shelf.place(&self.package, Some(&self.source))
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_and_the_package_ends_in_its_place() {
    let mut scene = Scene::new();
    scene.blobs.breaks_after = Some(14);
    let mut attempts = 0;
    while let Err(error) = scene.download().await {
        assert_eq!(error.class(), FailureClass::Fetch, "{error}");
        attempts += 1;
        assert!(attempts < 100, "no progress");
        if attempts == 2 {
            scene.blobs.breaks_after = None;
        }
    }
    let served = scene.blobs.served.lock().unwrap().clone();
    assert_eq!(served[..3], [(0, 41), (14, 27), (28, 13)], "{served:?}");
    let verified = scene.verify().unwrap();
    assert_eq!(verified.manifest.model_version(), scene.package.version);
    assert!(scene.place().join("doc/a.txt").is_file());
    let names = directories(&scene.shelf.incoming).unwrap();
    assert!(names.is_empty(), "{names:?}");
    // And again at the next start, from what is on disk alone.
    verify(&scene.shelf, &scene.package, None, &scene.trust()).unwrap();
}

#[tokio::test]
async fn a_blob_with_other_content_or_more_bytes_than_declared_is_refused() {
    let mut scene = Scene::new();
    let graph = Digest::of(b"the graph, in forty bytes or so, at least");
    let other = Bytes::from_static(b"THE graph, in forty bytes or so, at least");
    let good = scene.blobs.contents.insert(graph, other).unwrap();
    let error = scene.download().await.unwrap_err();
    assert!(matches!(error, FetchError::BlobDigest { .. }), "{error}");
    let longer = [&good[..], b"and more"].concat();
    scene.blobs.contents.insert(graph, longer.into());
    let error = scene.download().await.unwrap_err();
    assert!(
        error.to_string().contains("larger than the 41 bytes"),
        "{error}"
    );
    assert!(!scene.place().exists());
}

#[tokio::test]
async fn a_damaged_package_is_taken_back_and_only_the_damaged_file_is_fetched_again() {
    let scene = Scene::new();
    scene.download().await.unwrap();
    scene.verify().unwrap();
    fs::write(
        scene.place().join("model.onnx"),
        "THE graph, in forty bytes or so, at least",
    )
    .unwrap();
    let error = scene.verify().unwrap_err();
    assert_eq!(error.class(), FailureClass::Digest, "{error}");
    assert!(!scene.place().exists());
    scene.blobs.served.lock().unwrap().clear();
    scene.download().await.unwrap();
    assert_eq!(*scene.blobs.served.lock().unwrap(), [(0, 41)]);
    scene.verify().unwrap();
}

#[tokio::test]
async fn a_signer_that_is_not_trusted_is_refused_with_the_way_to_trust_it() {
    let scene = Scene::new();
    scene.download().await.unwrap();
    let stranger = Scene::new().trust();
    for trust in [stranger, TrustPolicy::Keys(TrustKeys::default())] {
        let error = verify(&scene.shelf, &scene.package, Some(&scene.source), &trust).unwrap_err();
        assert_eq!(error.class(), FailureClass::SignatureUntrusted, "{error}");
        assert!(
            error.to_string().contains("edge-agent enroll --trust-key"),
            "{error}"
        );
    }
    assert!(
        !scene.place().exists(),
        "what is not trusted is not put in place"
    );
}

#[tokio::test]
async fn a_bundle_over_other_files_is_refused_for_good() {
    let mut scene = Scene::new();
    let other = Scene::with("detector@1.0.0", &MANIFEST.replace("FP32", "FP64"));
    if let (PackageSource::Cloud { bundle, .. }, PackageSource::Cloud { files, .. }) =
        (&mut scene.source, &other.source)
    {
        *bundle = scene.key.sign(files, &other.package.version).unwrap();
    }
    scene.download().await.unwrap();
    let error = scene.verify().unwrap_err();
    assert_eq!(error.class(), FailureClass::SignatureInvalid, "{error}");
}

#[tokio::test]
async fn a_validly_signed_package_under_another_name_is_refused() {
    let scene = Scene::with("other@2.0.0", MANIFEST);
    scene.download().await.unwrap();
    let error = scene.verify().unwrap_err();
    assert!(matches!(error, FetchError::OtherModel { .. }), "{error}");
}

#[tokio::test]
async fn the_shelf_keeps_what_is_known_finds_the_rest_and_deletes_on_request() {
    let scene = Scene::new();
    scene.download().await.unwrap();
    scene.verify().unwrap();
    let stray = scene.shelf.packages.join("gone/1.0.0-00000000");
    fs::create_dir_all(&stray).unwrap();
    let found = scene.shelf.survey().unwrap();
    let expected = std::slice::from_ref(&scene.package);
    assert_eq!(found[&scene.package.version.model], expected);
    let known = BTreeSet::from([scene.package.clone()]);
    assert_eq!(scene.shelf.sweep(&known).unwrap(), [stray]);
    assert!(scene.place().is_dir());
    scene.shelf.remove(&scene.package).unwrap();
    assert!(!scene.place().exists());
    assert_eq!(scene.shelf.survey().unwrap(), BTreeMap::new());
}

#[test]
fn links_and_other_things_that_are_no_files_are_not_part_of_a_package() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.yaml"), MANIFEST).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("model.onnx")).unwrap();
    let error = list_directory(dir.path()).unwrap_err();
    assert!(matches!(error, FetchError::NotAPackage { .. }), "{error}");
}
