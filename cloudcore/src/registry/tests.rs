//! Blobs are whole and right under their names, or not there.

use super::*;
use futures_util::stream;

fn body(chunks: &[&'static str]) -> impl Stream<Item = Result<Bytes, String>> + Unpin + use<> {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|text| Ok(Bytes::from_static(text.as_bytes())))
        .collect();
    stream::iter(chunks)
}

#[tokio::test]
async fn what_was_stored_is_read_back_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let digest = Digest::of(b"hello world");
    let registry = Registry::open(dir.path()).await.unwrap();
    assert_eq!(
        registry
            .store(digest, body(&["hello ", "world"]))
            .await
            .unwrap(),
        11
    );
    let registry = Registry::open(dir.path()).await.unwrap();
    assert_eq!(
        registry.read_small(digest, 100).await.unwrap(),
        b"hello world"
    );
}

#[tokio::test]
async fn other_bytes_than_announced_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).await.unwrap();
    let digest = Digest::of(b"hello");
    let fault = registry.store(digest, body(&["hell0"])).await.unwrap_err();
    assert!(matches!(fault, RegistryError::Mismatch { .. }), "{fault}");
    assert_eq!(registry.size_bytes(digest).await.unwrap(), None);
    let left = std::fs::read_dir(dir.path().join("blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn uploads_that_were_cut_off_are_gone_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    Registry::open(dir.path()).await.unwrap();
    let left = dir.path().join("blobs/sha256/upload-1-0");
    std::fs::write(&left, "half").unwrap();
    Registry::open(dir.path()).await.unwrap();
    assert!(!left.exists());
}
