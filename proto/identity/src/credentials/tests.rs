use rustls::server::ServerConfig;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

use super::*;
use crate::fixture::{Fleet, cloud_leaf, node_leaf};
use crate::{
    CertifiedKey, node_client_config, renewed_server_config_for_nodes, rooted_client_config,
    server_name,
};

/// Shakes hands in memory; how, and the leaf the server then knows its peer by.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(HandshakeKind, CertificateDer<'static>), rustls::Error> {
    let mut client = ClientConnection::new(Arc::clone(client), server_name())?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
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
    let leaf = server.peer_certificates().unwrap()[0].clone().into_owned();
    Ok((server.handshake_kind().unwrap(), leaf))
}

fn secrets(byte: u8) -> TicketSecrets {
    TicketSecrets {
        newest: [byte; 32],
        before: None,
    }
}

fn ends(fleet: &Fleet) -> (Arc<NodeCredentials>, Arc<ServerCredentials>, CertifiedKey) {
    let first = fleet.node(&node_leaf());
    let leaf = CertifiedKey {
        chain: first.chain.clone(),
        key: first.key.clone_key(),
    };
    let node = NodeCredentials::new(first).unwrap();
    let server =
        ServerCredentials::new(fleet.cloud(&cloud_leaf()), &[fleet.node_ca()], &secrets(1))
            .unwrap();
    (Arc::new(node), Arc::new(server), leaf)
}

#[test]
fn a_replaced_node_certificate_is_shown_at_the_next_handshake_of_every_copy_of_the_settings() {
    let fleet = Fleet::new();
    let (node, server, first) = ends(&fleet);
    let client = node_client_config(fleet.root(), &node).unwrap();
    let (client, server) = (
        Arc::new(client.clone()),
        Arc::new(renewed_server_config_for_nodes(&server)),
    );
    let shown = |expected: &CertificateDer<'static>, kind| {
        let (how, leaf) = shake(&client, &server).unwrap();
        assert_eq!((how, &leaf), (kind, expected));
    };
    shown(&first.chain[0], HandshakeKind::Full);
    shown(&first.chain[0], HandshakeKind::Resumed);
    let second = fleet.node(&node_leaf());
    let leaf = second.chain[0].clone();
    node.replace(second).unwrap();
    // Resuming would still stand for the certificate before.
    shown(&leaf, HandshakeKind::Full);
    shown(&leaf, HandshakeKind::Resumed);
}

#[test]
fn nobody_but_a_node_of_this_fleet_gets_in() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let (_, server, good) = ends(&fleet);
    let settings = Arc::new(renewed_server_config_for_nodes(&server));
    let client = |own| Arc::new(rooted_client_config(fleet.root(), own).unwrap());
    assert!(shake(&client(Some(good)), &settings).is_ok());
    let mut expired = node_leaf();
    expired.years = (2020, 2021);
    let mut for_servers = node_leaf();
    for_servers.usage = cloud_leaf().usage;
    let strangers = [
        ("no certificate", None),
        ("a node of another fleet", Some(other.node(&node_leaf()))),
        ("the CA of servers", Some(fleet.cloud(&node_leaf()))),
        ("cloudcore's own", Some(fleet.cloud(&cloud_leaf()))),
        ("a server's usage", Some(fleet.node(&for_servers))),
        ("an end in 2021", Some(fleet.node(&expired))),
        ("self-signed", Some(self_signed())),
    ];
    for (who, own) in strangers {
        assert!(shake(&client(own), &settings).is_err(), "{who}");
    }
}

/// A node's certificate that nobody but its own key vouches for.
fn self_signed() -> CertifiedKey {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = node_leaf().names;
    params.extended_key_usages = node_leaf().usage;
    let certificate = params.self_signed(&key).unwrap();
    CertifiedKey {
        chain: vec![certificate.der().clone()],
        key: rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

#[test]
fn a_key_that_does_not_fit_changes_nothing() {
    let fleet = Fleet::new();
    let (node, server, first) = ends(&fleet);
    let mut mixed = fleet.node(&node_leaf());
    mixed.key = fleet.node(&node_leaf()).key;
    assert!(matches!(node.replace(mixed), Err(TlsError::Key(_))));
    let client = Arc::new(node_client_config(fleet.root(), &node).unwrap());
    let server = Arc::new(renewed_server_config_for_nodes(&server));
    assert_eq!(shake(&client, &server).unwrap().1, first.chain[0]);
}

#[test]
fn nodes_of_the_old_and_the_new_ca_get_in_until_the_old_one_is_taken_away() {
    // Two fleets stand for two issuing CAs; cloudcore's own certificate is of the first.
    let (old, new) = (Fleet::new(), Fleet::new());
    let (_, server, _) = ends(&old);
    let settings = Arc::new(renewed_server_config_for_nodes(&server));
    let client = |own| Arc::new(rooted_client_config(old.root(), Some(own)).unwrap());
    let (of_old, of_new) = (
        client(old.node(&node_leaf())),
        client(new.node(&node_leaf())),
    );
    assert!(shake(&of_old, &settings).is_ok());
    assert!(shake(&of_new, &settings).is_err());

    let own = || old.cloud(&cloud_leaf());
    server
        .replace(own(), &[new.node_ca(), old.node_ca()], &secrets(1))
        .unwrap();
    assert!(shake(&of_old, &settings).is_ok());
    assert!(shake(&of_new, &settings).is_ok());

    server
        .replace(own(), &[new.node_ca()], &secrets(1))
        .unwrap();
    // It remembers a session, and must not resume it.
    assert!(shake(&of_old, &settings).is_err());
    assert!(shake(&of_new, &settings).is_ok());
}

#[test]
fn a_node_resumes_at_the_next_process_and_is_known_by_the_same_leaf() {
    let fleet = Fleet::new();
    let (node, first, own) = ends(&fleet);
    let client = Arc::new(node_client_config(fleet.root(), &node).unwrap());
    let process =
        |server: &Arc<ServerCredentials>| Arc::new(renewed_server_config_for_nodes(server));
    assert_eq!(
        shake(&client, &process(&first)).unwrap().0,
        HandshakeKind::Full
    );
    let next = |byte| {
        let cloud = fleet.cloud(&cloud_leaf());
        Arc::new(ServerCredentials::new(cloud, &[fleet.node_ca()], &secrets(byte)).unwrap())
    };
    let (how, leaf) = shake(&client, &process(&next(1))).unwrap();
    assert_eq!((how, &leaf), (HandshakeKind::Resumed, &own.chain[0]));
    // Another fleet's secrets, or lost ones: in full, and it goes on from there.
    let other = process(&next(2));
    assert_eq!(shake(&client, &other).unwrap().0, HandshakeKind::Full);
    assert_eq!(shake(&client, &other).unwrap().0, HandshakeKind::Resumed);
}
