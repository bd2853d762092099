//! Real sensor rows over MQTT: publishes them all the time, and looks whether the anomalies found are real.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millwright_tests::packages::data;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::tally::Tally;

/// The model that looks at the rows.
pub(crate) const MODEL: &str = "shuttle-anomaly";

/// Forty rows a second and node: a controller that reports every 25 ms.
const PAUSE: Duration = Duration::from_millis(25);

/// Results still under way after the last row.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Results that may wait for the demo to look at them; more than any drain takes.
const QUEUE: usize = 4_096;

/// Ranking anomalies before normal rows must succeed for this share of pairs (area under the ROC curve).
/// Both versions reach 0.99 and more on rows they have not seen; see `tests/models/README.md`.
const AUC_MIN: f64 = 0.98;

/// One row of the Shuttle data.
#[derive(Clone)]
struct Row {
    values: Vec<f32>,
    anomaly: bool,
}

/// Rows no model was trained on.
#[derive(Clone)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    /// Reads `tests/data/shuttle.csv`: nine sensors and the true label.
    pub(crate) fn load() -> Result<Self> {
        let text = std::fs::read_to_string(data("shuttle.csv")).context("reading the rows")?;
        let rows = text
            .lines()
            .skip(1)
            .map(parse)
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            rows.iter().any(|row| row.anomaly),
            "there is no anomaly among the rows"
        );
        Ok(Self(rows))
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

fn parse(line: &str) -> Result<Row> {
    let (values, label) = line.rsplit_once(',').context("a row has no label")?;
    let values = values
        .split(',')
        .map(|value| {
            value
                .parse()
                .with_context(|| format!("reading the value {value}"))
        })
        .collect::<Result<_>>()?;
    Ok(Row {
        values,
        anomaly: label.trim() == "1",
    })
}

/// The topics of one node: where rows go in and results come out.
pub(crate) fn topics(site: &str, node: &str) -> (String, String) {
    (
        format!("{site}/{node}/shuttle"),
        format!("{site}/{node}/shuttle/result"),
    )
}

/// A controller that keeps publishing rows to one node.
pub(crate) struct Controller {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<BTreeMap<String, Tally>>>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    version: Option<String>,
    outputs: Option<BTreeMap<String, Output>>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Output {
    data: Vec<f64>,
}

impl Controller {
    /// Starts publishing through the broker.
    pub(crate) async fn start(
        rows: &Rows,
        broker: SocketAddr,
        (input, result): (String, String),
    ) -> Result<Self> {
        let mut options = MqttOptions::new(
            format!("controller-{}", input.replace('/', "-")),
            broker.ip().to_string(),
            broker.port(),
        );
        options.set_keep_alive(Duration::from_secs(10));
        let (client, mut events) = AsyncClient::new(options, 256);
        // Rows are small; waiting to fill packets would be measured as latency.
        events.network_options.set_tcp_nodelay(true);
        client
            .subscribe(&result, QoS::AtLeastOnce)
            .await
            .context("subscribing to the results")?;
        let (answers, received) = mpsc::channel(QUEUE);
        let (ready, subscribed) = oneshot::channel();
        tokio::spawn(async move {
            let mut ready = Some(ready);
            // The loop ends with the last receiver, when the controller has stopped.
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        ready.take().map(|ready| ready.send(()));
                    }
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        if answers
                            .send((Instant::now(), message.payload))
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                    Ok(_) => {}
                    // At the end the broker goes first; before, the rows that get no result tell.
                    Err(error) => {
                        if !answers.is_closed() {
                            eprintln!("  MQTT: {error}");
                        }
                        return;
                    }
                }
            }
        });
        subscribed
            .await
            .context("the broker did not confirm the subscription")?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(publish(rows.clone(), client, input, received, stopped));
        Ok(Self { stop, task })
    }

    /// Stops, waits for the results under way and tells what came of the rows, by version.
    pub(crate) async fn stop(self) -> Result<BTreeMap<String, Tally>> {
        let _ = self.stop.send(());
        self.task.await.context("the controller panicked")?
    }
}

async fn publish(
    rows: Rows,
    client: AsyncClient,
    topic: String,
    mut received: mpsc::Receiver<(Instant, bytes::Bytes)>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<BTreeMap<String, Tally>> {
    let mut sent: BTreeMap<String, (usize, Instant)> = BTreeMap::new();
    let mut results = Results::default();
    let mut tick = tokio::time::interval(PAUSE);
    let mut number = 0_usize;
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some((at, payload)) = received.recv() => results.take(&rows, &mut sent, at, &payload)?,
            _ = tick.tick() => {
                let index = number % rows.0.len();
                let id = number.to_string();
                let message = serde_json::json!({
                    "id": id, "timestamp": number, "values": rows.0[index].values,
                });
                sent.insert(id, (index, Instant::now()));
                client
                    .publish(&topic, QoS::AtLeastOnce, false, message.to_string())
                    .await
                    .context("publishing a row")?;
                number += 1;
            }
        }
    }
    let drained = tokio::time::timeout(DRAIN_DEADLINE, async {
        while !sent.is_empty() {
            let Some((at, payload)) = received.recv().await else {
                break;
            };
            results.take(&rows, &mut sent, at, &payload)?;
        }
        anyhow::Ok(())
    });
    if let Ok(outcome) = drained.await {
        outcome?;
    }
    Ok(results.tallies(sent.len()))
}

/// Results so far: per version the tally, and the score of every row with its true label.
#[derive(Default)]
struct Results {
    tallies: BTreeMap<String, Tally>,
    scored: BTreeMap<String, Vec<(f64, bool)>>,
}

impl Results {
    fn take(
        &mut self,
        rows: &Rows,
        sent: &mut BTreeMap<String, (usize, Instant)>,
        at: Instant,
        payload: &[u8],
    ) -> Result<()> {
        let answer: Answer = serde_json::from_slice(payload).context("reading a result")?;
        // A result that comes twice (QoS 1 allows it) was counted with the first.
        let Some((index, begin)) = sent.remove(&answer.id) else {
            return Ok(());
        };
        let version = answer.version.unwrap_or_else(|| "none".to_owned());
        let tally = self.tallies.entry(version.clone()).or_default();
        if let Some(error) = answer.error {
            tally.failures.push(error.to_string());
            return Ok(());
        }
        tally.latency_ms.push((at - begin).as_secs_f64() * 1_000.0);
        let outputs = answer
            .outputs
            .context("a result has neither outputs nor an error")?;
        let first = |name: &str| -> Result<f64> {
            let output = outputs
                .get(name)
                .with_context(|| format!("a result has no {name}"))?;
            output
                .data
                .first()
                .copied()
                .with_context(|| format!("{name} is empty"))
        };
        let anomaly = rows.0[index].anomaly;
        self.scored
            .entry(version)
            .or_default()
            .push((first("scores")?, anomaly));
        if anomaly && first("label")? < 0.0 {
            tally.found += 1;
        }
        Ok(())
    }

    fn tallies(mut self, unanswered: usize) -> BTreeMap<String, Tally> {
        for (version, tally) in &mut self.tallies {
            let Some(auc) = self.scored.get(version).and_then(|scored| auc(scored)) else {
                continue;
            };
            tally.quality = Some(format!("AUC {auc:.3}"));
            if auc < AUC_MIN {
                tally.wrong.push(format!("AUC {auc:.3} is below {AUC_MIN}"));
            }
        }
        if unanswered > 0 {
            let failures = &mut self.tallies.entry("none".to_owned()).or_default().failures;
            failures.extend((0..unanswered).map(|_| "no result came back".to_owned()));
        }
        self.tallies
    }
}

/// Area under the ROC curve: the share of (anomaly, normal) pairs in which the anomaly scores lower, ties
/// counting half. `None` without both kinds of rows.
fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let of = |kind: bool| {
        scored
            .iter()
            .filter(move |(_, anomaly)| *anomaly == kind)
            .map(|(s, _)| *s)
    };
    let pairs = of(true).count() * of(false).count();
    let wins: f64 = of(true)
        .map(|low| {
            of(false)
                .map(|high| match low.total_cmp(&high) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Greater => 0.0,
                })
                .sum::<f64>()
        })
        .sum();
    (pairs > 0).then(|| wins / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::auc;

    #[test]
    fn auc_is_the_share_of_rightly_ordered_pairs() {
        assert_eq!(auc(&[(-1.0, true), (0.5, false), (0.2, false)]), Some(1.0));
        assert_eq!(auc(&[(0.3, true), (0.5, false), (0.2, false)]), Some(0.5));
        assert_eq!(auc(&[(0.3, true)]), None);
    }
}
