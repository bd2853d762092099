//! From an empty box to answers: enroll, deploy, infer, report; and all of it again after a restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_api::{EventList, SummaryReport, Transport};
use millwright_tests::agent::AgentOptions;
use millwright_tests::broker::Broker;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, sensor_rows};
use millwright_tests::packages::Package;
use millwright_tests::wait::until;

/// What waits for a program of a debug build on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_model_answers_and_its_requests_are_counted() -> Result<()> {
    let mut options = AgentOptions::quick()?;
    // A loaded machine may miss the first handshake; the next comes soon.
    let probes = "probeQuic: {firstSeconds: 1, longestSeconds: 2}";
    options.cloud.push(probes.to_owned());
    let mut fleet = Fleet::with_model(options).await?;
    until("a session over QUIC", DEADLINE, async || {
        let now = fleet.node()?.status.transport;
        Ok((now == Some(Transport::Quic)).then_some(()))
    })
    .await?;

    let client = fleet.client()?;
    let rows = sensor_rows(4)?;
    for _ in 0..25 {
        let reply = client
            .infer("shuttle-anomaly", std::slice::from_ref(&rows))
            .await?;
        assert_eq!(reply.version, "1.0.0");
        assert_eq!(reply.outputs["scores"].floats()?.len(), 4);
    }
    until(
        "count of 25 requests in the cloud",
        COUNTED_DEADLINE,
        async || {
            let report: SummaryReport = fleet.cloud.fleetctl_json(&["summaries"])?;
            let model = report.nodes.iter().flat_map(|node| &node.models).next();
            Ok(model
                .filter(|model| model.requests == 25 && model.confidence.count == 25)
                .map(|_| ()))
        },
    )
    .await?;

    let events: EventList = fleet.cloud.fleetctl_json(&["events"])?;
    ensure!(
        events
            .items
            .iter()
            .any(|event| event.reason == "ModelActivated"),
        "no event tells of the activation: {events:?}"
    );
    fleet.agent.stop().await?;
    fleet.cloud.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_its_cloud_serves_after_a_restart() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    fleet.cloud.process().kill()?;
    fleet.agent.kill_and_restart(&fleet.options).await?;
    let client = fleet.client()?;
    let rows = sensor_rows(1)?;
    until("answer of the restarted agent", DEADLINE, async || {
        Ok(client
            .infer("shuttle-anomaly", std::slice::from_ref(&rows))
            .await
            .ok())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_over_mqtt_are_answered_on_the_result_topic() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(directory.path()).await?;
    let mut options = AgentOptions::quick()?;
    options.mqtt = Some(format!(
        "  broker: mqtt://{}\n  clientId: press-1\n  sources:\n    - {{topic: line1/rows, model: shuttle-anomaly, resultTopic: line1/results}}",
        broker.address()
    ));
    let _fleet = Fleet::with_model(options).await?;

    let mut client = rumqttc::MqttOptions::new("plc", "127.0.0.1", broker.address().port());
    client.set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = rumqttc::AsyncClient::new(client, 16);
    client
        .subscribe("line1/results", rumqttc::QoS::AtLeastOnce)
        .await?;
    let rows = sensor_rows(1)?.values;
    for (id, message) in [
        (
            "good",
            serde_json::json!({"id": "good", "timestamp": "2026-01-01T00:00:00Z", "values": rows}),
        ),
        (
            "short",
            serde_json::json!({"id": "short", "timestamp": "now", "values": [1, 2]}),
        ),
    ] {
        client
            .publish(
                "line1/rows",
                rumqttc::QoS::AtLeastOnce,
                false,
                message.to_string(),
            )
            .await?;
        let answer = tokio::time::timeout(DEADLINE, async {
            loop {
                if let rumqttc::Event::Incoming(rumqttc::Incoming::Publish(message)) =
                    events.poll().await?
                {
                    break anyhow::Ok(serde_json::from_slice::<serde_json::Value>(
                        &message.payload,
                    )?);
                }
            }
        })
        .await
        .with_context(|| format!("no answer to the message {id}"))??;
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["error"].is_null(), id == "good", "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_served_without_any_cloud() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let trial = millwright_tests::agent::Trial::start(
        directory.path(),
        &Package::ShuttleAnomaly1.source()?,
        &AgentOptions::quick()?,
    )
    .await?;
    let reply = trial
        .client()?
        .infer("shuttle-anomaly", &[sensor_rows(2)?])
        .await?;
    assert_eq!(reply.outputs["label"].shape, [2, 1]);
    Ok(())
}
