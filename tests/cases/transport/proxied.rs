//! Out of the plant through its HTTP proxy.

use anyhow::{Result, ensure};
use fleet_api::Transport;
use millwright_tests::agent::{AgentOptions, enrollment};
use millwright_tests::cloud::Cloud;
use millwright_tests::fleet::Fleet;
use millwright_tests::packages::Package;
use millwright_tests::proxy::ConnectProxy;
use millwright_tests::wait::until;

use super::{CONNECT_DEADLINE, FAILOVER_PROMISE, behind, counted_once, load, on, options};
use millwright_tests::wan::Lane;

/// `press:s3cret`, as HTTP has it.
const AUTHORIZATION: &str = "Basic cHJlc3M6czNjcmV0";

const PASSWORD: &str = "s3cret";

fn through(proxy: &ConnectProxy, user: &str) -> Result<AgentOptions> {
    let mut options = options()?;
    let proxy = format!("proxy: \"http://{user}@{}\"", proxy.address());
    options.cloud.push(proxy);
    Ok(options)
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_and_models_come_through_a_proxy_that_asks_for_a_password() -> Result<()> {
    let proxy = ConnectProxy::start(Some(AUTHORIZATION)).await?;
    let options = through(&proxy, "press:s3cret")?;
    // UDP is tried first and finds no way out, as behind most proxies.
    let (mut fleet, wan) = behind(9, options, |wan| wan.cut(&Lane::UDP)).await?;
    on(&fleet, Transport::Websocket, FAILOVER_PROMISE).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    load.until_another_answer(CONNECT_DEADLINE).await?;
    counted_once(&fleet, &load.stop().await?).await?;
    let target = wan.websocket().to_string();
    let tunnels = proxy.asked();
    // The session, and the model's blobs beside it.
    ensure!(tunnels.len() >= 2, "only {tunnels:?}");
    ensure!(
        tunnels
            .iter()
            .all(|asked| asked.target == target && asked.status == 200),
        "{tunnels:?}"
    );
    ensure!(!fleet.agent.process().log_text()?.contains(PASSWORD));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_to_be_wrong_without_being_said() -> Result<()> {
    let proxy = ConnectProxy::start(Some("Basic somebody-else")).await?;
    let mut options = through(&proxy, "press:s3cret")?;
    options.cloud.push("transport: websocket".to_owned());
    let mut fleet = Fleet::start(options).await?;
    until("the reason in the log", CONNECT_DEADLINE, async || {
        let log = fleet.agent.process().log_text()?;
        ensure!(!log.contains(PASSWORD), "the password is in the log");
        Ok(log
            .contains("does not accept the user and password it was given (407)")
            .then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollment_goes_through_the_proxy_of_the_environment_unless_no_proxy_says_otherwise()
-> Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    cloud.create_site(Fleet::SITE)?;
    let proxy = ConnectProxy::start(Some(AUTHORIZATION)).await?;
    let url = format!("http://press:s3cret@{}", proxy.address());
    let api = cloud.addresses().api.to_string();
    for (name, bypass, tunnels) in [("press-1", "", 1), ("press-2", "127.0.0.0/8", 1)] {
        let token = cloud.join_token(Fleet::SITE)?;
        let output = enrollment(&cloud, &directory.path().join(name), name, &token)?
            .env("HTTPS_PROXY", &url)
            .env("NO_PROXY", bypass)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        ensure!(proxy.asked().len() == tunnels, "{:?}", proxy.asked());
        ensure!(proxy.asked().iter().all(|asked| asked.target == api));
    }
    let wrong = url.replace("press:", "nobody:");
    let token = cloud.join_token(Fleet::SITE)?;
    let output = enrollment(&cloud, &directory.path().join("press-3"), "press-3", &token)?
        .env("HTTPS_PROXY", wrong)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("407"), "{said}");
    ensure!(!said.contains(PASSWORD), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollment_and_renewals_go_through_the_proxy_of_the_configuration() -> Result<()> {
    let proxy = ConnectProxy::start(Some(AUTHORIZATION)).await?;
    let directory = tempfile::tempdir()?;
    let flags = ["--node-certificate-lifetime", "8s"];
    let cloud = Cloud::start_with(directory.path(), &flags).await?;
    cloud.create_site(Fleet::SITE)?;
    let api = cloud.addresses().api.to_string();
    let config = directory.path().join("press-2.yaml");
    let url = format!("http://press:s3cret@{}", proxy.address());
    std::fs::write(&config, format!("cloud: {{proxy: \"{url}\"}}\n"))?;
    let token = cloud.join_token(Fleet::SITE)?;
    let output = enrollment(&cloud, &directory.path().join("press-2"), "press-2", &token)?
        .arg("--config")
        .arg(&config)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let to_api = || {
        let asked = proxy.asked();
        let to_api = asked.iter().filter(|asked| asked.target == api);
        to_api.filter(|asked| asked.status == 200).count()
    };
    ensure!(to_api() == 1, "{:?}", proxy.asked());

    let fleet = Fleet::join(cloud, directory, through(&proxy, "press:s3cret")?).await?;
    let ends = async || Ok(fleet.node()?.status.certificate_expires);
    let first = until("the first certificate", CONNECT_DEADLINE, ends).await?;
    until("a renewed certificate", CONNECT_DEADLINE, async || {
        Ok(ends().await?.filter(|end| *end > first))
    })
    .await?;
    ensure!(to_api() >= 2, "renewed beside it: {:?}", proxy.asked());
    Ok(())
}
