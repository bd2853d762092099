use std::sync::Arc;

use millwright_proto::ids::NodeUid;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};

use super::*;

/// A root that issues to nodes.
struct Fleet(CertifiedIssuer<'static, KeyPair>);

impl Fleet {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A key in PEM and the certificate of a node that begins in `year`.
    fn issue(&self, year: i32) -> (String, Vec<CertificateDer<'static>>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uid = NodeUid::from_bytes([9; 16]).to_string();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, uid);
        let name = "spiffe://acme/tenant/default/site/leipzig/node/press-1";
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.not_before = date_time_ymd(year, 1, 1);
        params.not_after = date_time_ymd(year + 1, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (key.serialize_pem(), vec![certificate.der().clone()])
    }

    fn identity(&self, year: i32) -> NewIdentity {
        let (key, chain) = self.issue(year);
        NewIdentity {
            identity_key: KeyPair::generate().unwrap().serialize_pem(),
            tls: tls_pem(&key, &chain),
            root: self.0.pem(),
            file: NodeFile {
                quic: String::new(),
                websocket: String::new(),
                cloud: "cloud.example:8443".to_owned(),
                node: "press-1".to_owned(),
                site: "leipzig".to_owned(),
                enrolled_at: 0,
            },
        }
    }
}

/// A device whose battery is dead.
fn no_clock() -> Reading {
    Reading {
        wall_s: 0,
        boot_ms: 0,
    }
}

fn begins(layout: &Layout) -> u64 {
    let identity = StoredIdentity::load_with(layout, no_clock).unwrap();
    identity.validity.not_before
}

fn year(year: i32) -> u64 {
    u64::try_from(date_time_ymd(year, 1, 1).unix_timestamp()).unwrap()
}

#[test]
fn a_renewed_certificate_is_the_one_in_use_and_the_one_after_a_restart() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), Fleet::new());
    let layout = Layout::at(dir.path());
    fleet.identity(2040).store(&layout).unwrap();
    let identity = StoredIdentity::load_with(&layout, no_clock).unwrap();
    let (key, chain) = fleet.issue(2041);
    let kept = identity.renew(&key, &chain).unwrap();
    assert!(matches!(kept, Kept::OnDisk), "{kept:?}");
    let resolver = Arc::clone(&identity.tls().client_auth_cert_resolver);
    assert_eq!(resolver.resolve(&[], &[]).unwrap().cert, chain);
    assert_eq!(begins(&layout), year(2041));
    // The clock of the next start knows that this time has passed.
    let again = StoredIdentity::load_with(&layout, no_clock).unwrap();
    assert_eq!(again.clock().now_s(), year(2041));
}

#[test]
fn a_chain_of_another_key_is_refused_and_changes_nothing() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), Fleet::new());
    let layout = Layout::at(dir.path());
    fleet.identity(2040).store(&layout).unwrap();
    let identity = StoredIdentity::load_with(&layout, no_clock).unwrap();
    let (key, _) = fleet.issue(2041);
    let (_, chain) = fleet.issue(2041);
    let refused = identity.renew(&key, &chain);
    assert!(
        matches!(refused, Err(StoredIdentityError::Tls { .. })),
        "{refused:?}"
    );
    assert_eq!(begins(&layout), year(2040));
}

#[test]
fn a_power_cut_at_any_byte_of_a_renewal_leaves_the_old_certificate_or_the_new_one() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), Fleet::new());
    let layout = Layout::at(dir.path());
    fleet.identity(2040).store(&layout).unwrap();
    let (key, chain) = fleet.issue(2041);
    let new = tls_pem(&key, &chain);
    let directory = layout.identity();
    let unfinished = directory.join("tls.pem.new");
    for written in 0..=new.len() {
        fs::write(&unfinished, &new.as_bytes()[..written]).unwrap();
        if written % 97 == 0 || written == new.len() {
            assert_eq!(begins(&layout), year(2040), "{written}");
        }
    }
    fs::rename(&unfinished, directory.join(TLS)).unwrap();
    assert_eq!(begins(&layout), year(2041));
}

#[test]
fn a_renewal_after_an_unfinished_one_succeeds() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), Fleet::new());
    let layout = Layout::at(dir.path());
    fleet.identity(2040).store(&layout).unwrap();
    fs::write(layout.identity().join("tls.pem.new"), "half").unwrap();
    let identity = StoredIdentity::load_with(&layout, no_clock).unwrap();
    let (key, chain) = fleet.issue(2041);
    let kept = identity.renew(&key, &chain).unwrap();
    assert!(matches!(kept, Kept::OnDisk), "{kept:?}");
    assert_eq!(begins(&layout), year(2041));
    assert!(!layout.identity().join("tls.pem.new").exists());
}

/// What lies in the data directory after each step of an enrollment that replaces an identity.
#[test]
fn a_power_cut_at_any_step_of_a_new_enrollment_leaves_the_old_identity_or_the_new_one() {
    let fleet = Fleet::new();
    let (old, new) = (fleet.identity(2040), fleet.identity(2041));
    let directories = || {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path());
        old.store(&layout).unwrap();
        let finished = tempfile::tempdir().unwrap();
        new.store(&Layout::at(finished.path())).unwrap();
        (dir, layout, finished)
    };
    let aside = |layout: &Layout, extension| layout.identity().with_extension(extension);
    let files = [IDENTITY_KEY, TLS, ROOT, NODE];

    // The new directory is half written.
    for written in 0..=files.len() {
        let (_dir, layout, finished) = directories();
        let new = aside(&layout, "new");
        fs::create_dir(&new).unwrap();
        for file in &files[..written] {
            let from = Layout::at(finished.path()).identity().join(file);
            fs::copy(from, new.join(file)).unwrap();
        }
        assert_eq!(begins(&layout), year(2040));
    }
    // The old one is moved aside, the new one is not yet in place.
    let (_dir, layout, finished) = directories();
    let ready = aside(&layout, "new");
    fs::rename(Layout::at(finished.path()).identity(), &ready).unwrap();
    fs::rename(layout.identity(), aside(&layout, "old")).unwrap();
    assert_eq!(begins(&layout), year(2040));
    // The new one is in place, the old one not yet deleted.
    fs::rename(layout.identity(), aside(&layout, "old")).unwrap();
    fs::rename(&ready, layout.identity()).unwrap();
    assert_eq!(begins(&layout), year(2041));
    // From each of them the next enrollment succeeds.
    old.store(&layout).unwrap();
    assert_eq!(begins(&layout), year(2040));
}
