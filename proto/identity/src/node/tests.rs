use proptest::prelude::*;

use super::*;
use crate::fixture::{Fleet, Leaf, dns, node, node_leaf, uri};

fn read(leaf: &Leaf) -> Result<NodeIdentity, IdentityError> {
    NodeIdentity::from_certificate(&Fleet::new().node(leaf).chain[0])
}

#[test]
fn a_certificate_names_the_node_it_was_issued_for() {
    assert_eq!(read(&node_leaf()), Ok(node()));
    assert_eq!(
        node().spiffe_id(),
        "spiffe://acme/tenant/default/site/leipzig/node/press-1"
    );
}

#[test]
fn other_alternative_names_are_refused() {
    let cases = [
        (vec![], (0, 0)),
        (vec![dns(crate::SERVER_NAME)], (0, 1)),
        (vec![uri(&node().spiffe_id()), dns("press-1.local")], (1, 1)),
        (
            vec![uri(&node().spiffe_id()), uri("spiffe://acme/x")],
            (2, 0),
        ),
    ];
    for (names, (uris, others)) in cases {
        let leaf = Leaf {
            names,
            ..node_leaf()
        };
        assert_eq!(
            read(&leaf),
            Err(IdentityError::AlternativeNames { uris, others })
        );
    }
}

#[test]
fn a_certificate_without_a_uid_is_refused() {
    let fleet = Fleet::new();
    // The common name of a server is no uid.
    let leaf = fleet.cloud(&node_leaf()).chain.remove(0);
    assert!(matches!(
        NodeIdentity::from_certificate(&leaf),
        Err(IdentityError::Name(IdError::Random {
            what: "node uid",
            ..
        }))
    ));
}

#[test]
fn uris_of_another_form_are_refused() {
    let good = node().spiffe_id();
    let uid = node().uid;
    for wrong in [
        good.replace("spiffe:", "https:"),
        good.replace("/site/", "/plant/"),
        format!("{good}/"),
        format!("{good}/extra"),
        good.replace("/node/press-1", ""),
        "x".repeat(SPIFFE_ID_BYTES_MAX + 1),
    ] {
        let refused = NodeIdentity::from_spiffe_id(&wrong, uid);
        assert!(matches!(refused, Err(IdentityError::Uri(_))), "{wrong}");
    }
    let refused = NodeIdentity::from_spiffe_id(&good.replace("leipzig", "Leipzig"), uid);
    assert!(matches!(
        refused,
        Err(IdentityError::Name(IdError::Name { what: "site", .. }))
    ));
    let refused = NodeIdentity::from_spiffe_id(&good.replace("acme", ""), uid);
    assert_eq!(refused, Err(IdentityError::TrustDomain { length: 0 }));
}

#[test]
fn bytes_after_a_certificate_and_oversized_ones_are_refused() {
    let mut der = Fleet::new().node(&node_leaf()).chain[0].to_vec();
    der.push(0);
    let trailing = IdentityError::Certificate(CertificateError::NotX509(der.len()));
    assert_eq!(NodeIdentity::from_certificate(&der), Err(trailing));
    let long = vec![0; certificate::CERTIFICATE_BYTES_MAX + 1];
    let too_long = IdentityError::Certificate(CertificateError::TooLong(long.len()));
    assert_eq!(NodeIdentity::from_certificate(&long), Err(too_long));
}

proptest! {
    #[test]
    fn hostile_certificates_do_not_panic(
        at in any::<prop::sample::Index>(), byte: u8, junk in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        // One certificate for all cases: making it is the slow part.
        static CERTIFICATE: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| Fleet::new().node(&node_leaf()).chain[0].to_vec());
        let mut der = CERTIFICATE.clone();
        let at = at.index(der.len());
        der[at] = byte;
        let _ = NodeIdentity::from_certificate(&der);
        let _ = NodeIdentity::from_certificate(&junk);
    }
}
