use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millwright_proto::Digest;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{FileEntry, FileList};

const FOREIGN: &str = include_str!("../../golden/signed-by-model-signing/model.sig");
const OURS: &str = include_str!("../../golden/signed-by-millwright.sig");
const PUBLIC: &str = include_str!("../../golden/signed-by-model-signing.pub");

const P384: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEucOrPyXE8ItIBrDZ28J5iyKKguNYN7YH
+Z2Myq63pWgIIlbkBYisOPEq/65CG56JpGAA3J61QVpf0FR0Uinioi+GgXkoicGc
6D+GTxH8hpSGcir+gDH4+M5yUHYSVpdo
-----END PUBLIC KEY-----
";

fn entry(path: &str, content: &[u8]) -> FileEntry {
    FileEntry {
        path: path.parse().unwrap(),
        digest: Digest::of(content),
        size_bytes: content.len() as u64,
    }
}

/// The files of the golden package, with `change` applied.
fn golden_files(change: impl FnOnce(&mut Vec<FileEntry>)) -> FileList {
    let mut entries = vec![
        entry(
            "golden/a.safetensors",
            include_bytes!("../../golden/signed-by-model-signing/golden/a.safetensors"),
        ),
        entry(
            "model.onnx",
            include_bytes!("../../golden/signed-by-model-signing/model.onnx"),
        ),
        entry(
            "model.yaml",
            include_bytes!("../../golden/signed-by-model-signing/model.yaml"),
        ),
    ];
    change(&mut entries);
    FileList::new(entries).unwrap()
}

fn golden_keys() -> TrustKeys {
    TrustKeys::from_pems([("golden", PUBLIC)]).unwrap()
}

fn trusting(key: &SigningKey) -> TrustKeys {
    TrustKeys::from_pems([("key", key.public_pem().as_str())]).unwrap()
}

fn payload(bundle: &str) -> Vec<u8> {
    let bundle: Value = serde_json::from_str(bundle).unwrap();
    STANDARD
        .decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap())
        .unwrap()
}

/// Changes a bundle's JSON without signing it again.
fn edited(bundle: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut bundle: Value = serde_json::from_str(bundle).unwrap();
    edit(&mut bundle);
    bundle.to_string()
}

#[test]
fn bundles_of_both_tools_verify_and_name_their_signer() {
    for bundle in [FOREIGN, OURS] {
        let signer = verify(bundle, &golden_files(|_| {}), &golden_keys()).unwrap();
        assert_eq!(
            signer.to_string(),
            "162ea2f42b8e89f5e88d7793ef9a639e334209e6af44224393ed3ab88d26cdf1"
        );
    }
}

#[test]
fn the_claimed_signer_is_read_without_keys_and_the_list_must_still_agree() {
    let key = SigningKey::generate().unwrap();
    let files = golden_files(|_| {});
    let bundle = key.sign(&files, &"m@1".parse().unwrap()).unwrap();
    assert_eq!(claimed_signer(&bundle, &files), Ok(Some(key.hint())));
    assert_eq!(signer_hint(&bundle), Ok(Some(key.hint())));
    let other = golden_files(|entries| entries[0] = entry(entries[0].path.as_str(), b"other"));
    assert!(matches!(
        claimed_signer(&bundle, &other),
        Err(VerifyError::Altered { .. })
    ));
}

#[test]
fn what_is_signed_stays_byte_for_byte_the_same() {
    let key = SigningKey::generate().unwrap();
    let model = "face-detector@1.0.0".parse().unwrap();
    let bundle = key.sign(&golden_files(|_| {}), &model).unwrap();
    assert_eq!(payload(&bundle), payload(OURS));
}

#[test]
fn keys_survive_their_pem_text() {
    let key = SigningKey::generate().unwrap();
    let again = SigningKey::from_pem(&key.to_pem(), "signing.key").unwrap();
    assert_eq!(again.public_pem(), key.public_pem());
    assert_eq!(format!("{again:?}"), format!("SigningKey({})", key.hint()));
    assert_eq!(trusting(&again).hints().collect::<Vec<_>>(), [key.hint()]);
}

#[test]
fn other_keys_are_refused_with_what_to_do() {
    let origin = || "k".to_owned();
    let refused = |text| TrustKeys::from_pems([("k", text)]).unwrap_err();
    assert_eq!(refused(P384), KeyError::Algorithm { origin: origin() });
    let no_key = KeyError::Pem {
        origin: origin(),
        expected: "PUBLIC KEY",
    };
    assert_eq!(refused("hello"), no_key);
    assert_eq!(
        refused("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"),
        no_key
    );
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(
        SigningKey::from_pem(sec1, "k").unwrap_err(),
        KeyError::Sec1 { origin: origin() }
    );
    let no_key = KeyError::Pem {
        origin: origin(),
        expected: "PRIVATE KEY",
    };
    assert_eq!(SigningKey::from_pem(PUBLIC, "k").unwrap_err(), no_key);
}

#[test]
fn a_list_that_differs_from_the_signed_one_is_refused() {
    let refused = |files: FileList| verify(FOREIGN, &files, &golden_keys()).unwrap_err();
    let altered = refused(golden_files(|files| files[1].digest = Digest::of(b"evil")));
    assert!(
        matches!(&altered, VerifyError::Altered { path, .. } if path == "model.onnx"),
        "{altered}"
    );
    let added = refused(golden_files(|files| files.push(entry("z", b""))));
    assert_eq!(added, VerifyError::Unsigned("z".to_owned()));
    let removed = refused(golden_files(|files| drop(files.remove(0))));
    assert_eq!(
        removed,
        VerifyError::Missing("golden/a.safetensors".to_owned())
    );
}

#[test]
fn only_trusted_keys_count() {
    let files = golden_files(|_| {});
    let other = SigningKey::generate().unwrap();
    let refused = verify(OURS, &files, &trusting(&other)).unwrap_err();
    assert!(
        matches!(&refused, VerifyError::UntrustedKey { trusted, .. } if *trusted == [other.hint()]),
        "{refused}"
    );
    assert_eq!(
        verify(OURS, &files, &TrustKeys::default()),
        Err(VerifyError::NoTrustKeys)
    );
    let lying = edited(OURS, |bundle| {
        bundle["verificationMaterial"]["publicKey"]["hint"] = other.hint().to_string().into();
    });
    assert_eq!(
        verify(&lying, &files, &trusting(&other)),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn a_bundle_without_hint_is_tried_with_every_key() {
    let files = golden_files(|_| {});
    let silent = edited(FOREIGN, |bundle| {
        bundle["verificationMaterial"]["publicKey"] = Value::Object(serde_json::Map::new());
    });
    let other = SigningKey::generate().unwrap();
    let both = [("golden", PUBLIC), ("other", &other.public_pem())];
    let both = TrustKeys::from_pems(both).unwrap();
    assert_eq!(
        verify(&silent, &files, &both),
        verify(FOREIGN, &files, &both)
    );
    assert_eq!(
        verify(&silent, &files, &trusting(&other)),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn a_payload_exchanged_under_its_signature_is_refused() {
    let key = SigningKey::generate().unwrap();
    let evil = golden_files(|files| files[1].digest = Digest::of(b"evil"));
    let evil_payload = payload(&key.sign(&evil, &"m@1".parse().unwrap()).unwrap());
    let swapped = edited(OURS, |bundle| {
        bundle["dsseEnvelope"]["payload"] = STANDARD.encode(evil_payload).into();
    });
    assert_eq!(
        verify(&swapped, &evil, &golden_keys()),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn bundles_of_another_form_are_refused_with_what_is_wrong() {
    let refused = |edit: &dyn Fn(&mut Value)| {
        let bundle = edited(OURS, |bundle| edit(bundle));
        verify(&bundle, &golden_files(|_| {}), &golden_keys())
            .unwrap_err()
            .to_string()
    };
    let media = refused(&|b| b["mediaType"] = "application/zip".into());
    assert!(media.contains("mediaType `application/zip`"), "{media}");
    let payload = refused(&|b| b["dsseEnvelope"]["payloadType"] = "text/plain".into());
    assert!(payload.contains("payloadType `text/plain`"), "{payload}");
    let keyless = refused(&|b| drop(b["verificationMaterial"]["publicKey"].take()));
    assert!(keyless.contains("no publicKey"), "{keyless}");
    let unsigned = refused(&|b| b["dsseEnvelope"]["signatures"] = Value::Array(Vec::new()));
    assert!(unsigned.contains("0 signatures"), "{unsigned}");
    let long = " ".repeat(BUNDLE_BYTES_MAX + 1);
    let long = verify(&long, &golden_files(|_| {}), &golden_keys());
    assert_eq!(long, Err(VerifyError::TooLong(BUNDLE_BYTES_MAX + 1)));
    let deep = "[".repeat(10_000);
    let deep = verify(&deep, &golden_files(|_| {}), &golden_keys());
    assert!(matches!(deep, Err(VerifyError::Malformed(_))), "{deep:?}");
}

fn package() -> impl Strategy<Value = FileList> {
    prop::collection::btree_map("[a-z]{1,8}/[a-z]{1,8}", any::<[u8; 32]>(), 0..20).prop_map(
        |files| {
            let entry = |(path, digest): (String, [u8; 32])| FileEntry {
                path: path.parse().unwrap(),
                digest: Digest::from_sha256(digest),
                size_bytes: 1,
            };
            let mut entries: Vec<FileEntry> = files.into_iter().map(entry).collect();
            entries.push(self::entry("model.yaml", b""));
            FileList::new(entries).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_signed_verifies_and_nothing_else_does(signed in package(), other in package()) {
        let key = SigningKey::generate().unwrap();
        let bundle = key.sign(&signed, &"m@1".parse().unwrap()).unwrap();
        prop_assert_eq!(verify(&bundle, &signed, &trusting(&key)), Ok(key.hint()));
        let verdict = verify(&bundle, &other, &trusting(&key));
        prop_assert_eq!(verdict.is_ok(), other.entries() == signed.entries());
    }

    #[test]
    fn damaged_bundles_never_panic_and_never_trust_other_content(
        at in 0..FOREIGN.len(),
        cut in 0..60_usize,
        with in "[a-zA-Z0-9\"{}:,=+/]{0,6}",
    ) {
        let end = (at + cut).min(FOREIGN.len());
        let damaged = format!("{}{with}{}", &FOREIGN[..at], &FOREIGN[end..]);
        let evil = golden_files(|files| files[1].digest = Digest::of(b"evil"));
        prop_assert!(verify(&damaged, &evil, &golden_keys()).is_err());
    }
}
