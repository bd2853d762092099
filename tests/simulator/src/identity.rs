//! Who the simulated nodes are: enrolled once by the real API, kept in a file for the next run.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use millwright_identity::{JoinToken, pinned_client_config};
use millwright_proto::link::{EnrollRequest, EnrollResponse};
use millwright_tests::cloud::Cloud;
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SigningKey as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// Nodes of one site; a site of a real fleet has fewer.
const NODES_PER_SITE: usize = 500;

/// Enrollments under way at once: enough to keep two cores busy with signatures.
const AT_ONCE: usize = 32;

/// How many enrollments there are between two lines of progress.
const PROGRESS_EVERY: usize = 1_000;

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) node: String,
    pub(crate) uid: [u8; 16],
    /// DER, leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub(crate) key: Vec<u8>,
    /// The root of the fleet, DER.
    pub(crate) root: Vec<u8>,
}

/// The first `agents` nodes of the fleet in `directory`, enrolling those that are missing.
pub(crate) async fn load_or_enroll(
    cloud: &Cloud,
    directory: &Path,
    agents: usize,
) -> Result<Vec<Identity>> {
    let file = directory.join("identities.json");
    let mut known: Vec<Identity> = if file.exists() {
        let text = std::fs::read(&file).context("reading the identities")?;
        serde_json::from_slice(&text).context("parsing the identities")?
    } else {
        Vec::new()
    };
    let began = known.len();
    while known.len() < agents {
        let site = known.len() / NODES_PER_SITE;
        let end = agents.min((site + 1) * NODES_PER_SITE);
        let fresh = enroll_site(cloud, site, known.len()..end).await?;
        known.extend(fresh);
        std::fs::write(&file, serde_json::to_vec(&known)?).context("keeping the identities")?;
        if known.len().is_multiple_of(PROGRESS_EVERY) {
            eprintln!("{} of {agents} enrolled", known.len());
        }
    }
    if known.len() > began {
        eprintln!("{} nodes enrolled", known.len() - began);
    }
    known.truncate(agents);
    Ok(known)
}

async fn enroll_site(
    cloud: &Cloud,
    site: usize,
    nodes: std::ops::Range<usize>,
) -> Result<Vec<Identity>> {
    let site = format!("site-{site:02}");
    cloud.create_site(&site)?;
    let uses = nodes.len().to_string();
    let token = cloud.fleetctl(&[
        "token", "create", "--site", &site, "--uses", &uses, "--ttl", "24h",
    ])?;
    let token: JoinToken = token.trim().parse().context("reading the join token")?;
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(pinned_client_config(token.root_pin))
        .no_proxy()
        .build()?;
    let url = format!("https://{}/api/v1/enroll", cloud.addresses().api);
    futures_util::stream::iter(nodes)
        .map(|number| enroll(&http, &url, &token, number))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn enroll(
    http: &reqwest::Client,
    url: &str,
    token: &JoinToken,
    number: usize,
) -> Result<Identity> {
    let mut uid = [0; 16];
    SystemRandom::new()
        .fill(&mut uid)
        .map_err(|_| anyhow::anyhow!("no random bytes"))?;
    let (identity, tls) = (KeyPair::generate()?, KeyPair::generate()?);
    let csr = CertificateParams::new(Vec::new())?.serialize_request(&tls)?;
    let node = format!("sim-{number:05}");
    let request = EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.expose().to_owned(),
        node: node.clone(),
        node_uid: uid.to_vec().into(),
        identity_public_key: identity.subject_public_key_info().into(),
        identity_proof: identity.sign(csr.der())?.into(),
        csr: csr.der().to_vec().into(),
        labels: std::collections::BTreeMap::default(),
    };
    let answer = http
        .post(url)
        .header("content-type", "application/x-protobuf")
        .body(request.encode_to_vec())
        .send()
        .await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    ensure!(
        status.is_success(),
        "enrolling {node}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    let response = EnrollResponse::decode(body).context("reading the answer")?;
    let chain = response.certificate_chain.iter();
    Ok(Identity {
        node,
        uid,
        chain: chain.map(|der| der.to_vec()).collect(),
        key: tls.serialize_der(),
        root: response.root.to_vec(),
    })
}
