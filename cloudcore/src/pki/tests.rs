//! The authority over starts, renewals and losses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use millwright_identity::{RootPin, TrustDomain};
use rustls_pki_types::CertificateDer;

use super::{Authority, PkiError};

const DAY: u64 = 24 * 60 * 60;

fn fleet() -> TrustDomain {
    "f.example".parse().unwrap()
}

fn day(number: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs((20_000 + number) * DAY)
}

fn open(directory: &Path, now: Timestamp) -> Result<Authority, PkiError> {
    Authority::open(directory, &fleet(), now)
}

fn leaf(authority: &Authority, names: &[&str], now: Timestamp) -> CertificateDer<'static> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let server = authority.server(&fleet(), &names, now).unwrap();
    server.certified_key().chain.swap_remove(0)
}

#[test]
fn the_root_stays_over_restarts_and_its_pin_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), day(0)).unwrap();
    let again = open(dir.path(), day(1)).unwrap();
    assert_eq!(first.root(), again.root());
    assert_eq!(RootPin::of_certificate(first.root()).unwrap(), again.pin());
}

#[test]
fn every_file_of_the_authority_is_private() {
    let dir = tempfile::tempdir().unwrap();
    leaf(&open(dir.path(), day(0)).unwrap(), &[], day(0));
    let files: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(files.len(), 8);
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn the_server_certificate_is_kept_until_names_change_or_its_end_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let authority = open(dir.path(), day(0)).unwrap();
    let first = leaf(&authority, &["a.example", "10.0.0.1"], day(0));
    assert_eq!(
        leaf(&authority, &["a.example", "10.0.0.1"], day(100)),
        first
    );
    let renamed = leaf(&authority, &["b.example"], day(100));
    assert_ne!(renamed, first);
    assert_eq!(leaf(&authority, &["b.example"], day(101)), renamed);
    assert_ne!(leaf(&authority, &["b.example"], day(300)), renamed);
}

#[test]
fn an_issuing_ca_near_its_end_is_signed_anew_with_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let old = open(dir.path(), day(0)).unwrap();
    let new = open(dir.path(), day(9 * 365 + 200)).unwrap();
    assert_eq!(old.root(), new.root());
    assert_ne!(old.nodes.certificate, new.nodes.certificate);
    let pin =
        |authority: &Authority| RootPin::of_certificate(&authority.nodes.certificate).unwrap();
    assert_eq!(pin(&old), pin(&new));
}

#[test]
fn a_lost_root_is_an_error_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), day(0)).unwrap();
    std::fs::remove_file(dir.path().join("root.key.pem")).unwrap();
    assert!(matches!(
        open(dir.path(), day(0)),
        Err(PkiError::Missing { .. })
    ));
    std::fs::write(dir.path().join("root.key.pem"), "rubbish").unwrap();
    assert!(matches!(
        open(dir.path(), day(0)),
        Err(PkiError::Damaged { .. })
    ));
}

#[test]
fn a_public_name_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = open(dir.path(), day(0)).unwrap();
    let fault = authority
        .server(&fleet(), &["fäbrik".to_owned()], day(0))
        .unwrap_err();
    assert!(fault.to_string().contains("--public-name"), "{fault}");
}
