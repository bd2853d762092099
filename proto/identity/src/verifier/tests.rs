use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;

use super::*;
use crate::fixture::{Fleet, cloud_leaf, dns, node_leaf, now};

fn verify(
    trust: Trust,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let dialled = ServerName::try_from("10.1.2.3").unwrap();
    let (leaf, others) = chain.split_first().unwrap();
    CloudVerifier::new(trust, algorithms)
        .verify_server_cert(leaf, others, &dialled, &[], now)
        .map(|_| ())
}

/// The refusal under pin and under root, which must be the same.
fn refused(fleet: &Fleet, chain: &[CertificateDer<'static>]) -> CertificateError {
    let [pinned, rooted] = [Trust::Pin(fleet.pin()), Trust::Root(fleet.root())].map(|trust| {
        match verify(trust, chain, now()) {
            Err(rustls::Error::InvalidCertificate(why)) => why,
            other => panic!("expected a refused certificate, got {other:?}"),
        }
    });
    assert_eq!(pinned, rooted);
    pinned
}

fn chain_error(error: rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(why)) => why.0.to_string(),
        other => panic!("expected a chain error, got {other:?}"),
    }
}

#[test]
fn the_right_pin_and_the_right_root_are_accepted_whatever_was_dialled() {
    let fleet = Fleet::new();
    let chain = fleet.cloud(&cloud_leaf()).chain;
    assert_eq!(verify(Trust::Pin(fleet.pin()), &chain, now()), Ok(()));
    assert_eq!(verify(Trust::Root(fleet.root()), &chain, now()), Ok(()));
    // With the root at hand the server need not send it.
    assert_eq!(
        verify(Trust::Root(fleet.root()), &chain[..2], now()),
        Ok(())
    );
}

#[test]
fn another_root_is_refused_and_named() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let chain = other.cloud(&cloud_leaf()).chain;
    let why = chain_error(verify(Trust::Pin(fleet.pin()), &chain, now()).unwrap_err());
    assert!(why.contains(&fleet.pin().to_string()), "{why}");
    assert!(why.contains(&other.pin().to_string()), "{why}");
    let rooted = verify(Trust::Root(fleet.root()), &chain, now());
    assert!(
        matches!(
            rooted,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
            )) | Err(rustls::Error::InvalidCertificate(
                CertificateError::BadSignature
            ))
        ),
        "{rooted:?}"
    );
}

#[test]
fn a_chain_of_a_stranger_with_the_real_root_appended_is_refused() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let mut chain = other.cloud(&cloud_leaf()).chain;
    chain[2] = fleet.root();
    let why = verify(Trust::Pin(fleet.pin()), &chain, now()).unwrap_err();
    assert!(
        matches!(
            why,
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            )
        ),
        "{why:?}"
    );
}

#[test]
fn the_pinned_key_in_a_certificate_it_did_not_sign_is_refused() {
    let fleet = Fleet::new();
    let mut chain = fleet.cloud(&cloud_leaf()).chain;
    chain[2] = fleet.wrapped_root();
    let why = chain_error(verify(Trust::Pin(fleet.pin()), &chain, now()).unwrap_err());
    assert!(
        why.contains("is not a CA certificate signed by that key"),
        "{why}"
    );
}

#[test]
fn an_expired_leaf_is_refused() {
    let fleet = Fleet::new();
    let mut leaf = cloud_leaf();
    leaf.years = (2024, 2026);
    let why = refused(&fleet, &fleet.cloud(&leaf).chain);
    assert!(
        matches!(why, CertificateError::ExpiredContext { .. }),
        "{why:?}"
    );
}

#[test]
fn a_device_whose_clock_died_still_connects() {
    let fleet = Fleet::new();
    let chain = fleet.cloud(&cloud_leaf()).chain;
    let nineteen_seventy = UnixTime::since_unix_epoch(Duration::from_secs(60));
    assert_eq!(
        verify(Trust::Pin(fleet.pin()), &chain, nineteen_seventy),
        Ok(())
    );
    assert_eq!(
        verify(Trust::Root(fleet.root()), &chain, nineteen_seventy),
        Ok(())
    );
}

#[test]
fn a_wrong_name_is_refused_even_when_it_is_the_one_dialled() {
    let fleet = Fleet::new();
    let mut leaf = cloud_leaf();
    leaf.names = vec![
        dns("localhost"),
        rcgen::SanType::IpAddress([10, 1, 2, 3].into()),
    ];
    let why = refused(&fleet, &fleet.cloud(&leaf).chain);
    assert!(
        matches!(why, CertificateError::NotValidForNameContext { .. }),
        "{why:?}"
    );
}

#[test]
fn a_node_cannot_pose_as_cloudcore() {
    let fleet = Fleet::new();
    let mut chain = fleet.node(&node_leaf()).chain;
    chain.push(fleet.root());
    let why = refused(&fleet, &chain);
    assert!(
        matches!(why, CertificateError::NotValidForNameContext { .. }),
        "{why:?}"
    );
}

#[test]
fn a_certificate_for_clients_is_refused() {
    let fleet = Fleet::new();
    let mut leaf = cloud_leaf();
    leaf.usage = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let why = refused(&fleet, &fleet.cloud(&leaf).chain);
    assert!(
        matches!(why, CertificateError::InvalidPurposeContext { .. }),
        "{why:?}"
    );
}

#[test]
fn a_long_chain_and_bytes_that_are_no_certificates_are_refused() {
    let fleet = Fleet::new();
    let mut chain = fleet.cloud(&cloud_leaf()).chain;
    chain.extend(vec![fleet.root(); CHAIN_LENGTH_MAX]);
    let why = chain_error(verify(Trust::Pin(fleet.pin()), &chain, now()).unwrap_err());
    assert!(why.starts_with("the server sent 6 certificates"), "{why}");

    let junk = vec![CertificateDer::from(vec![0x30, 0x82]); 2];
    let why = chain_error(verify(Trust::Pin(fleet.pin()), &junk, now()).unwrap_err());
    assert!(why.contains("none besides its own"), "{why}");
    assert_eq!(
        verify(Trust::Root(fleet.root()), &junk, now()),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::BadEncoding
        ))
    );
}
