//! The stage: one cloudcore, one MQTT broker, two agents at two sites, all real processes on loopback.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use fleet_api::{Node, NodeStatus, Resource, Transport};
use millwright_tests::agent::{Agent, AgentOptions};
use millwright_tests::broker::Broker;
use millwright_tests::checkout;
use millwright_tests::cloud::Cloud;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use millwright_tests::wan::{Lane, Wan};

use crate::sensors;

/// Sites with one node each.
const NODES: [(&str, &str); 2] = [("leipzig", "press-1"), ("gdansk", "mill-1")];

/// The network of the demo only blocks; what it draws is never used.
const SEED: u64 = 1;

/// Short windows, so that a demo of a minute sees several; a plant keeps the default of 60 s.
pub(crate) const SUMMARY_WINDOW_SECONDS: u32 = 5;

/// QUIC gives up and WebSocket comes up well within this (promise: 10 s).
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// One node of the demo.
pub(crate) struct DemoNode {
    pub(crate) site: &'static str,
    pub(crate) agent: Agent,
    pub(crate) transport: Transport,
}

/// Everything that runs.
pub(crate) struct Stage {
    directory: PathBuf,
    cloud: Cloud,
    broker: Broker,
    nodes: Vec<DemoNode>,
    blocked: Option<Wan>,
}

impl Stage {
    /// Starts everything and waits until both nodes are connected.
    pub(crate) async fn set(udp_blocked: bool, say: &impl Fn(String)) -> Result<Self> {
        let directory = checkout().join("target/demo");
        if directory.exists() {
            std::fs::remove_dir_all(&directory).context("removing the last demo's files")?;
        }
        std::fs::create_dir_all(&directory).context("making the demo's directory")?;

        let broker = Broker::start(&directory).await?;
        say(format!("{} listens on {}", broker.kind(), broker.address()));
        let cloud = Cloud::start(&directory).await?;
        let at = cloud.addresses();
        say(format!(
            "cloudcore: API https://{}, QUIC {}, WebSocket {}",
            at.api, at.quic, at.websocket
        ));

        let mut blocked = None;
        let mut nodes = Vec::new();
        for (index, (site, name)) in NODES.into_iter().enumerate() {
            cloud.create_site(site)?;
            let mut options = options(&broker, site, name)?;
            if udp_blocked && index == NODES.len() - 1 {
                let wan =
                    Wan::start(SEED, cloud.addresses().quic, cloud.addresses().websocket).await?;
                wan.cut(&Lane::UDP);
                options.quic = Some(wan.quic());
                say(format!("{name}: every datagram to cloudcore is swallowed"));
                blocked = Some(wan);
            }
            let agent = Agent::start(&cloud, &directory, site, name, &options).await?;
            let transport = connected(&cloud, name).await?;
            let over = match transport {
                Transport::Quic => "QUIC",
                Transport::Websocket => "WebSocket",
            };
            say(format!("{name} at {site}: enrolled, connected over {over}"));
            nodes.push(DemoNode {
                site,
                agent,
                transport,
            });
        }
        Ok(Self {
            directory,
            cloud,
            broker,
            nodes,
            blocked,
        })
    }

    /// The nodes, in order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &DemoNode> {
        self.nodes.iter()
    }

    /// The MQTT broker.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The cloud.
    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Datagrams of the blocked node that never arrived; `None` when none is blocked.
    pub(crate) fn swallowed(&self) -> Option<u64> {
        let wan = self.blocked.as_ref()?;
        Some(
            Lane::UDP
                .iter()
                .map(|lane| wan.traffic().on(*lane).lost)
                .sum(),
        )
    }

    /// Signs and pushes packages.
    pub(crate) fn publish(&self, packages: &[Package], say: &impl Fn(String)) -> Result<()> {
        for package in packages {
            self.cloud.publish(*package)?;
            say(format!(
                "published {}@{}, signed",
                package.model(),
                package.version()
            ));
        }
        Ok(())
    }

    /// Deploys packages to every node and waits for the rollouts.
    pub(crate) fn roll_out(
        &self,
        packages: &[Package],
        timeout: &str,
        say: &impl Fn(String),
    ) -> Result<()> {
        for package in packages {
            self.cloud.deploy(*package)?;
        }
        for package in packages {
            self.cloud.await_rollout(*package, timeout)?;
            say(format!(
                "{}@{} answers on every node",
                package.model(),
                package.version()
            ));
        }
        Ok(())
    }

    /// Leaves everything running and prints how to look around.
    pub(crate) fn leave_running(self) -> Result<()> {
        let config = self.cloud.fleetctl_config();
        let mut ids = Vec::new();
        println!("\nStill running. Look around:");
        println!("  export FLEETCTL_CONFIG={}", config.display());
        println!("  export PATH={}:$PATH", programs()?.display());
        println!("  fleetctl get nodes -o wide");
        println!("  fleetctl summaries");
        println!("  fleetctl events --follow");
        for node in self.nodes {
            println!(
                "  curl http://{}/v2/models/{}",
                node.agent.http(),
                sensors::MODEL
            );
            println!("  curl http://{}/metrics", node.agent.http());
            ids.push(node.agent.leave_running()?.to_string());
        }
        println!(
            "  ls {}   # logs and data of every program",
            self.directory.display()
        );
        ids.push(self.cloud.leave_running()?.to_string());
        ids.push(self.broker.leave_running()?.to_string());
        println!("Stop everything:\n  kill {}", ids.join(" "));
        Ok(())
    }
}

fn programs() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("finding the running executable")?;
    Ok(executable
        .parent()
        .context("the executable has no directory")?
        .to_owned())
}

fn options(broker: &Broker, site: &str, node: &str) -> Result<AgentOptions> {
    let (topic, result) = sensors::topics(site, node);
    let mqtt = format!(
        "  broker: mqtt://{}\n  clientId: {node}\n  sources:\n    - {{topic: {topic}, model: {}, resultTopic: {result}}}",
        broker.address(),
        sensors::MODEL,
    );
    Ok(AgentOptions {
        summary_window_seconds: SUMMARY_WINDOW_SECONDS,
        mqtt: Some(mqtt),
        ..AgentOptions::quick()?
    })
}

/// Waits until cloudcore sees the node, and tells over what.
async fn connected(cloud: &Cloud, name: &str) -> Result<Transport> {
    until(
        &format!("session of {name}"),
        CONNECT_DEADLINE,
        async || {
            let node: Resource<Node> = cloud.fleetctl_json(&["get", "node", name])?;
            let NodeStatus { transport, .. } = node.status;
            Ok(transport)
        },
    )
    .await
}
