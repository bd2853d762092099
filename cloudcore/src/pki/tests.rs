//! The authority over starts, renewals and losses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use millwright_identity::{RootPin, TrustDomain};
use rustls_pki_types::CertificateDer;

use super::{Authority, Pki, PkiError};

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
    let server = authority.server(&names, now).unwrap();
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
    // Four pairs of key and certificate, and the lock.
    assert_eq!(files.len(), 9);
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
    assert_ne!(old.nodes.active.certificate, new.nodes.active.certificate);
    let pin = |authority: &Authority| {
        RootPin::of_certificate(&authority.nodes.active.certificate).unwrap()
    };
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
        .server(&["fäbrik".to_owned()], day(0))
        .unwrap_err();
    assert!(fault.to_string().contains("--public-name"), "{fault}");
}

/// The nodes' CAs that are trusted, and the one that issues.
fn cas(
    authority: &Authority,
    now: Timestamp,
) -> (Vec<CertificateDer<'static>>, CertificateDer<'static>) {
    let active = authority.nodes.active.certificate.clone();
    (authority.node_cas(now), active)
}

fn file_names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_rotated_ca_issues_and_the_one_before_counts_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut authority = open(dir.path(), day(0)).unwrap();
    let (_, first) = cas(&authority, day(0));
    authority.rotate(&fleet(), day(10)).unwrap();
    assert_eq!(authority.generations(), (2, 2));
    let (trusted, second) = cas(&authority, day(10));
    assert_ne!(first, second);
    assert_eq!(trusted, [second.clone(), first.clone()]);
    // The same after a restart, and still so after another rotation.
    let mut again = open(dir.path(), day(11)).unwrap();
    assert_eq!(cas(&again, day(11)), (trusted, second.clone()));
    again.rotate(&fleet(), day(20)).unwrap();
    let (trusted, third) = cas(&again, day(20));
    assert_eq!(trusted, [third.clone(), first.clone(), second.clone()]);
    // The first one ends ten years after it began.
    assert_eq!(again.node_cas(day(3651)), [third, second]);
    // Whoever takes the directory cannot issue under a retired CA.
    assert!(!dir.path().join("nodes.key.pem").exists());
    assert!(!dir.path().join("servers.2.key.pem").exists());
}

#[test]
fn a_rotation_cut_off_at_any_file_is_the_old_ca_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut authority = open(dir.path(), day(0)).unwrap();
    let (_, first) = cas(&authority, day(0));
    let old_key = std::fs::read(dir.path().join("nodes.key.pem")).unwrap();
    authority.rotate(&fleet(), day(1)).unwrap();
    let (_, second) = cas(&authority, day(1));
    let new_key = std::fs::read(dir.path().join("nodes.2.key.pem")).unwrap();

    // Cut off after the new certificate was there and its key was not.
    std::fs::write(dir.path().join("nodes.key.pem"), &old_key).unwrap();
    std::fs::remove_file(dir.path().join("nodes.2.key.pem")).unwrap();
    assert_eq!(cas(&open(dir.path(), day(2)).unwrap(), day(2)).1, first);
    // Cut off after the new key was there and the old one was too.
    std::fs::write(dir.path().join("nodes.2.key.pem"), &new_key).unwrap();
    let opened = open(dir.path(), day(2)).unwrap();
    assert_eq!(cas(&opened, day(2)), (vec![second.clone(), first], second));
    assert!(!dir.path().join("nodes.key.pem").exists());
    // Rotating goes on from there.
    let mut opened = opened;
    opened.rotate(&fleet(), day(3)).unwrap();
    assert_eq!(opened.generations().0, 3);
}

#[test]
fn all_keys_of_a_rotated_ca_lost_is_an_error_and_not_a_new_ca() {
    let dir = tempfile::tempdir().unwrap();
    let mut authority = open(dir.path(), day(0)).unwrap();
    authority.rotate(&fleet(), day(1)).unwrap();
    std::fs::remove_file(dir.path().join("nodes.2.key.pem")).unwrap();
    let before = file_names(dir.path());
    assert!(matches!(
        open(dir.path(), day(2)),
        Err(PkiError::Missing { .. })
    ));
    assert_eq!(file_names(dir.path()), before);
}

#[test]
fn a_running_server_renews_its_certificate_and_takes_a_rotation_over() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), &fleet(), &[], day(0)).unwrap();
    assert!(!pki.refresh(day(1)).unwrap());
    let first = pki.server_expires();
    assert!(pki.refresh(day(200)).unwrap());
    assert!(pki.server_expires() > first);
    // At any time it shows one that has half a year left, which agents count on.
    for number in 0..1000 {
        pki.refresh(day(200 + number)).unwrap();
        assert!(pki.server_expires() > day(200 + number + 180));
    }
    // Somebody else rotates.
    open(dir.path(), day(1200))
        .unwrap()
        .rotate(&fleet(), day(1200))
        .unwrap();
    assert!(pki.refresh(day(1200)).unwrap());
    assert_eq!(pki.authority().generations(), (2, 2));
    assert!(!pki.refresh(day(1200)).unwrap());
    // What cannot be read changes nothing.
    std::fs::write(dir.path().join("nodes.2.key.pem"), "rubbish").unwrap();
    assert!(pki.refresh(day(1201)).is_err());
    assert_eq!(pki.authority().generations(), (2, 2));
}

#[test]
fn every_certificate_is_listed_with_its_end_and_its_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut authority = open(dir.path(), day(0)).unwrap();
    leaf(&authority, &[], day(0));
    authority.rotate(&fleet(), day(1)).unwrap();
    let states = |now| {
        let rows = authority.certificates(now).unwrap().into_iter();
        rows.map(|row| (row.role, row.state.to_string(), row.ends > now))
            .collect::<Vec<_>>()
    };
    let row = |role, state: &str, lasts| (role, state.to_owned(), lasts);
    let expected = [
        row("root", "active", true),
        row("nodes", "retired", true),
        row("nodes", "active", true),
        row("servers", "retired", true),
        row("servers", "active", true),
        row("server", "active", true),
    ];
    assert_eq!(states(day(1)), expected);
    assert_eq!(states(day(3650))[1], row("nodes", "ended", false));
}
