//! A whole fleet's certificates for the tests of this crate.

use std::time::Duration;

use millwright_proto::ids::NodeUid;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};

use crate::{CertifiedKey, NodeIdentity, RootPin};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// One root with the CA of cloudcore and the CA of the nodes under it.
pub(crate) struct Fleet {
    root: Ca,
    cloud: Ca,
    nodes: Ca,
}

/// What differs from a good leaf.
pub(crate) struct Leaf {
    pub(crate) names: Vec<SanType>,
    pub(crate) usage: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) years: (i32, i32),
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Noon of a day in 2026, when every good certificate here is valid.
pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000))
}

pub(crate) fn node() -> NodeIdentity {
    let uid = NodeUid::from_bytes([9; 16]);
    NodeIdentity::from_spiffe_id(
        "spiffe://acme/tenant/default/site/leipzig/node/press-1",
        uid,
    )
    .unwrap()
}

/// A good certificate of cloudcore.
pub(crate) fn cloud_leaf() -> Leaf {
    Leaf {
        names: vec![dns(crate::SERVER_NAME), dns("localhost")],
        usage: vec![ExtendedKeyUsagePurpose::ServerAuth],
        years: (2025, 2100),
    }
}

/// A good certificate of a node, with both usages as peers need them.
pub(crate) fn node_leaf() -> Leaf {
    Leaf {
        names: vec![uri(&node().spiffe_id())],
        usage: vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ],
        years: (2025, 2100),
    }
}

fn params(common_name: &str, (from, to): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name, (2025, 2100));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = Ca::self_signed(ca_params("root"), key()).unwrap();
        let cloud = Ca::signed_by(ca_params("cloud CA"), key(), &root).unwrap();
        let nodes = Ca::signed_by(ca_params("node CA"), key(), &root).unwrap();
        Self { root, cloud, nodes }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub(crate) fn node_ca(&self) -> CertificateDer<'static> {
        self.nodes.der().clone()
    }

    pub(crate) fn pin(&self) -> RootPin {
        RootPin::of_certificate(self.root.der()).unwrap()
    }

    /// Another certificate with the key of this root, but signed by somebody else.
    pub(crate) fn wrapped_root(&self) -> CertificateDer<'static> {
        let stranger = Ca::self_signed(ca_params("root"), KeyPair::generate().unwrap()).unwrap();
        let wrapped = ca_params("root").signed_by(self.root.key(), &stranger);
        wrapped.unwrap().der().clone()
    }

    /// Leaf, issuing CA, root.
    pub(crate) fn cloud(&self, leaf: &Leaf) -> CertifiedKey {
        issue(&self.cloud, leaf, "cloudcore", Some(self.root()))
    }

    /// Leaf and issuing CA, with the uid as its common name.
    pub(crate) fn node(&self, leaf: &Leaf) -> CertifiedKey {
        issue(&self.nodes, leaf, &node().uid.to_string(), None)
    }
}

fn issue(
    issuer: &Ca,
    leaf: &Leaf,
    common_name: &str,
    root: Option<CertificateDer<'static>>,
) -> CertifiedKey {
    let key = KeyPair::generate().unwrap();
    let mut params = params(common_name, leaf.years);
    params.subject_alt_names = leaf.names.clone();
    params.extended_key_usages = leaf.usage.clone();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let mut chain = vec![certificate.der().clone(), issuer.der().clone()];
    chain.extend(root);
    CertifiedKey {
        chain,
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}
