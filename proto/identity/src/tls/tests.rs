use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::NodeIdentity;
use crate::fixture::{Fleet, cloud_leaf, node, node_leaf};

/// Shakes hands in memory; what the server then knows of its peer.
fn shake(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<Option<Vec<CertificateDer<'static>>>, rustls::Error> {
    let mut client = ClientConnection::new(Arc::new(client), server_name())?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    // A TLS 1.3 handshake takes three flights; the tickets after it one more.
    for _ in 0..4 {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(server
        .peer_certificates()
        .map(|chain| chain.iter().map(|der| der.clone().into_owned()).collect()))
}

#[test]
fn a_device_that_knows_only_the_pin_reaches_its_cloudcore_and_no_other() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let server = || server_config(fleet.cloud(&cloud_leaf())).unwrap();
    assert_eq!(shake(pinned_client_config(fleet.pin()), server()), Ok(None));
    let refused = shake(pinned_client_config(other.pin()), server());
    assert!(
        matches!(refused, Err(rustls::Error::InvalidCertificate(_))),
        "{refused:?}"
    );
}

#[test]
fn a_node_is_known_by_its_certificate() {
    let fleet = Fleet::new();
    let server = server_config_for_nodes(fleet.cloud(&cloud_leaf()), fleet.node_ca()).unwrap();
    let client = rooted_client_config(fleet.root(), Some(fleet.node(&node_leaf()))).unwrap();
    let peer = shake(client, server).unwrap().unwrap();
    assert_eq!(NodeIdentity::from_certificate(&peer[0]), Ok(node()));
}

#[test]
fn nobody_but_a_node_of_this_fleet_gets_a_session() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let mut expired = node_leaf();
    expired.years = (2020, 2021);
    let clients = [
        None,
        Some(other.node(&node_leaf())),
        // Issued under the same root, but not by the CA of the nodes.
        Some(fleet.cloud(&node_leaf())),
        Some(fleet.node(&expired)),
    ];
    for (case, client) in clients.into_iter().enumerate() {
        let server = server_config_for_nodes(fleet.cloud(&cloud_leaf()), fleet.node_ca()).unwrap();
        let client = rooted_client_config(fleet.root(), client).unwrap();
        let refused = shake(client, server);
        assert!(
            matches!(
                refused,
                Err(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
            ),
            "{case} {refused:?}"
        );
    }
}

#[test]
fn settings_that_cannot_work_are_refused_when_they_are_made() {
    let fleet = Fleet::new();
    let junk = CertificateDer::from(vec![1, 2, 3]);
    let error = rooted_client_config(junk.clone(), None).unwrap_err();
    assert!(matches!(error, TlsError::Root(_)), "{error:?}");
    let error = server_config_for_nodes(fleet.cloud(&cloud_leaf()), junk).unwrap_err();
    assert!(matches!(error, TlsError::NodeCa(_)), "{error:?}");
    let mut mixed = fleet.cloud(&cloud_leaf());
    mixed.key = fleet.cloud(&cloud_leaf()).key;
    let error = server_config(mixed).unwrap_err();
    assert!(matches!(error, TlsError::Key(_)), "{error:?}");
}

#[test]
fn keys_do_not_show_in_debug() {
    let shown = format!("{:?}", Fleet::new().node(&node_leaf()).key);
    assert!(shown.contains("secret"), "{shown}");
}
