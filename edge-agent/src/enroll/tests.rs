use super::*;
use crate::config::NodeArguments;
use crate::data_dir::Layout;
use crate::identity::{StoredIdentity, StoredIdentityError};
use millwright_identity::verify_identity_proof;

#[test]
fn keys_of_a_cut_off_enrollment_are_used_again_and_prove_possession() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::at(dir.path());
    let first = PendingKeys::load_or_make(&layout).unwrap();
    let again = PendingKeys::load_or_make(&layout).unwrap();
    assert_eq!(first.uid(), again.uid());
    assert_eq!(first.identity_public_key(), again.identity_public_key());
    let csr = again.certificate_request().unwrap();
    let proof = again.proof(&csr).unwrap();
    assert_eq!(
        verify_identity_proof(&first.identity_public_key(), &csr, &proof),
        Ok(())
    );
}

#[test]
fn addresses_are_host_and_port_with_8443_when_left_out() {
    let split = |text: &str| https::split(text).map_err(|error| error.to_string());
    assert_eq!(
        split("cloud.example"),
        Ok(("cloud.example".to_owned(), 8443))
    );
    assert_eq!(
        split("https://cloud.example:1/"),
        Ok(("cloud.example".to_owned(), 1))
    );
    assert_eq!(split("[::1]:9"), Ok(("[::1]".to_owned(), 9)));
    assert!(split("cloud:http").unwrap_err().contains("--cloud"));
    assert!(split("a/b:1").is_err());
}

#[test]
fn a_session_address_without_a_host_is_on_the_host_that_answered() {
    assert_eq!(
        reachable("0.0.0.0:10002", "cloud.example"),
        "cloud.example:10002"
    );
    assert_eq!(reachable(":10000", "10.0.0.1:8443"), "10.0.0.1:10000");
    assert_eq!(
        reachable("edge.example:10000", "cloud.example"),
        "edge.example:10000"
    );
    assert_eq!(reachable("", "cloud.example"), "");
}

#[test]
fn a_machine_that_never_enrolled_is_told_how_to() {
    let dir = tempfile::tempdir().unwrap();
    let error = StoredIdentity::load(&Layout::at(dir.path())).unwrap_err();
    assert!(
        matches!(error, StoredIdentityError::Missing { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("edge-agent enroll"), "{error}");
}

#[tokio::test]
async fn an_unreachable_cloud_changes_nothing_and_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let pin = RootPin::of_certificate(
        rcgen::generate_simple_self_signed(vec!["x".to_owned()])
            .unwrap()
            .cert
            .der(),
    );
    let token = JoinToken::new("t", [1; 32], pin.unwrap()).unwrap();
    let arguments = EnrollArguments {
        cloud: address.to_string(),
        token: token.to_text().expose().to_owned(),
        name: Some("n".parse().unwrap()),
        trust_keys: Vec::new(),
        labels: Vec::new(),
        node: NodeArguments {
            data_dir: Some(dir.path().to_owned()),
            config: None,
        },
        force: false,
    };
    let error = enroll(&arguments).await.unwrap_err();
    assert!(error.to_string().contains("--cloud"), "{error}");
    assert!(!dir.path().join("identity").exists());
}
