//! Sensor fusion as a plant has it: nine values of one machine on three topics, joined by time into rows for a model.
//!
//! The topics differ in form (JSON, nested JSON, lines), tell times that are not quite the same, and the third comes
//! some rows late. Some rows never get their third part. Rows are real and labelled, so the answers can be judged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, QoS};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::packages::data;

/// Messages of one row.
const PARTS: usize = 3;

/// The third part comes this many rows after the others.
const LAG_ROWS: usize = 4;

/// Every so many rows one has no third part.
const LOST_EVERY: usize = 50;

/// Batches of a second in which messages are sent.
const BATCHES: u32 = 100;

/// Longest wait for the last answers: a debug build on a loaded machine.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// Time of the first row, in microseconds since 1970.
const BEGIN_US: u64 = 1_700_000_000_000_000;

/// How much is sent, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Rows of nine values; beyond those there are, they are repeated.
    pub rows: usize,
    /// Messages of all topics together.
    pub messages_per_second: u32,
    /// Rows that wait for an answer at most; the next one is only sent after that. A plant does not wait: `None`.
    pub unanswered_max: Option<usize>,
}

impl Load {
    /// Time from one row to the next.
    fn spacing_us(self) -> u64 {
        PARTS as u64 * 1_000_000 / u64::from(self.messages_per_second.max(1))
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages sent.
    pub messages: usize,
    /// How long that took.
    pub sending: Duration,
    /// Rows whose third part was never sent.
    pub incomplete: usize,
    /// Rows answered.
    pub answered: usize,
    /// Rows that were real anomalies, and of these the ones that were told to be.
    pub anomalies: (usize, usize),
    /// Area under the ROC curve of the scores.
    pub auc: f64,
    /// From the last part of a row to its answer, in milliseconds.
    pub latency_ms: Vec<f64>,
}

/// The pipeline, as a plant engineer writes it. A row waits for its parts as long as `wait`.
#[must_use]
pub fn pipeline(broker: SocketAddr, wait: Duration) -> String {
    let wait_ms = wait.as_millis();
    format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: fusion}}
spec:
  source:
    mqtt:
      broker: mqtt://{broker}
      topics:
        - topic: press/hydraulics
          payload: {{json: {{fields: {{f1: f1, f2: f2, f3: f3}}, time: t, timeUnit: us}}}}
        - topic: press/+/drive
          payload: {{json: {{fields: {{f4: axes.0.v, f5: axes.1.v, f6: axes.2.v}}, time: at.us, timeUnit: us}}}}
        - topic: press/heat
          payload: {{csv: {{columns: [t, f7, '-', f8, f9], time: t, timeUnit: us, separator: ';'}}}}
      join: {{toleranceMs: 1, waitMs: {wait_ms}}}
  preprocess:
    sensors: {{fields: [f1, f2, f3, f4, f5, f6, f7, f8, f9]}}
  model: shuttle-anomaly
  decode: {{anomaly: {{output: scores, threshold: 0, direction: below}}}}
  sinks:
    - mqtt: {{topic: press/result}}
"
    )
}

struct Row {
    values: Vec<String>,
    anomaly: bool,
}

fn rows() -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(data("shuttle.csv")).context("reading the rows")?;
    let row = |line: &str| {
        let mut values: Vec<String> = line.split(',').map(str::to_owned).collect();
        let anomaly = values.pop().is_some_and(|label| label.trim() == "1");
        Row { values, anomaly }
    };
    Ok(text.lines().skip(1).map(row).collect())
}

/// Sends `load` through the broker to a running pipeline, and judges the answers.
///
/// # Errors
/// When the broker fails, or fewer rows are answered than have all their parts.
pub async fn run(broker: SocketAddr, load: Load) -> Result<Report> {
    let rows = rows()?;
    ensure!(!rows.is_empty(), "there are no rows");
    let (results, mut listening) = connect(broker, "fusion-results");
    results.subscribe("press/result", QoS::AtMostOnce).await?;
    subscribed(&mut listening).await?;
    let places = Arc::new(Semaphore::new(
        load.unanswered_max.unwrap_or(Semaphore::MAX_PERMITS / 2),
    ));
    let answers = listen(listening, expected(load.rows), Arc::clone(&places));
    let answers = tokio::spawn(answers);
    let sent = send(broker, load, &rows, &places).await?;
    let answers = tokio::time::timeout(DRAIN_DEADLINE, answers);
    let answers = answers
        .await
        .context("some rows got no answer")?
        .context("the listener panicked")??;
    judge(&rows, load, &sent, &answers)
}

/// Waits until the broker has confirmed a subscription: what was published before comes to nobody.
async fn subscribed(events: &mut EventLoop) -> Result<()> {
    loop {
        let event = events.poll().await.context("subscribing to the results")?;
        if matches!(event, Event::Incoming(Incoming::SubAck(_))) {
            return Ok(());
        }
    }
}

/// Rows that have all their parts.
fn expected(rows: usize) -> usize {
    (0..rows).filter(|row| !is_lost(*row)).count()
}

fn is_lost(row: usize) -> bool {
    row % LOST_EVERY == LOST_EVERY / 2
}

/// When the last part of every row was sent, and how long all of it took.
struct Sent {
    last_part: Vec<Option<Instant>>,
    messages: usize,
    took: Duration,
}

async fn send(broker: SocketAddr, load: Load, rows: &[Row], places: &Semaphore) -> Result<Sent> {
    let spacing_us = load.spacing_us();
    let (client, mut events) = connect(broker, "fusion-plc");
    let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let batch = (load.messages_per_second / BATCHES).max(1) as usize;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / BATCHES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = Sent {
        last_part: vec![None; load.rows],
        messages: 0,
        took: Duration::ZERO,
    };
    let begin = Instant::now();
    for step in 0..load.rows + LAG_ROWS {
        for part in 0..PARTS {
            let late = if part + 1 == PARTS { LAG_ROWS } else { 0 };
            let row = step.checked_sub(late).filter(|row| *row < load.rows);
            let Some(row) = row.filter(|row| part + 1 < PARTS || !is_lost(*row)) else {
                continue;
            };
            if part == 0 && !is_lost(row) {
                let place = tokio::time::timeout(DRAIN_DEADLINE, places.acquire()).await;
                place.context("some rows got no answer")??.forget();
            }
            let time_us = BEGIN_US + row as u64 * spacing_us + 300 * part as u64;
            let (topic, text) = message(part, time_us, &rows[row % rows.len()].values);
            client.publish(topic, QoS::AtLeastOnce, false, text).await?;
            sent.last_part[row] = Some(Instant::now());
            sent.messages += 1;
            if sent.messages.is_multiple_of(batch) {
                ticks.tick().await;
            }
        }
    }
    sent.took = begin.elapsed();
    client.disconnect().await?;
    let _ = polling.await;
    Ok(sent)
}

/// Topic and text of one part of a row.
fn message(part: usize, time_us: u64, values: &[String]) -> (&'static str, String) {
    match part {
        0 => (
            "press/hydraulics",
            format!(
                "{{\"t\": {time_us}, \"f1\": {}, \"f2\": {}, \"f3\": \"{}\"}}",
                values[0], values[1], values[2]
            ),
        ),
        1 => {
            let mut axes = String::new();
            for (at, value) in values[3..6].iter().enumerate() {
                let comma = if at == 0 { "" } else { ", " };
                // Writing to a string does not fail.
                let _ = write!(axes, "{comma}{{\"v\": {value}}}");
            }
            let text = format!("{{\"at\": {{\"us\": {time_us}}}, \"axes\": [{axes}]}}");
            ("press/x/drive", text)
        }
        _ => {
            let text = format!("{time_us};{};off;{};{}", values[6], values[7], values[8]);
            ("press/heat", text)
        }
    }
}

/// Time, score, verdict and arrival of an answer.
struct Answer {
    time_us: u64,
    score: f64,
    anomaly: bool,
    at: Instant,
}

async fn listen(
    mut events: EventLoop,
    count: usize,
    places: Arc<Semaphore>,
) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(count);
    while answers.len() < count {
        let event = events
            .poll()
            .await
            .context("the broker cut the results off")?;
        let Event::Incoming(Incoming::Publish(message)) = event else {
            continue;
        };
        let result: serde_json::Value = serde_json::from_slice(&message.payload)?;
        ensure!(
            result["error"].is_null(),
            "a row was not answered: {result}"
        );
        let number = |key: &str| {
            result[key]
                .as_f64()
                .with_context(|| format!("no {key}: {result}"))
        };
        answers.push(Answer {
            time_us: (number("timestamp")? * 1000.0).round() as u64,
            score: number("score")?,
            anomaly: result["anomaly"].as_bool().unwrap_or_default(),
            at: Instant::now(),
        });
        places.add_permits(1);
    }
    Ok(answers)
}

fn judge(rows: &[Row], load: Load, sent: &Sent, answers: &[Answer]) -> Result<Report> {
    let (count, spacing_us) = (load.rows, load.spacing_us());
    let mut scored = Vec::with_capacity(answers.len());
    let mut latency_ms = Vec::with_capacity(answers.len());
    let mut seen = BTreeMap::new();
    let mut anomalies = (0, 0);
    for answer in answers {
        let offset = answer
            .time_us
            .checked_sub(BEGIN_US)
            .context("an answer from before")?;
        let row = usize::try_from(offset / spacing_us)?;
        ensure!(row < count, "an answer to row {row}, which was never sent");
        ensure!(
            !is_lost(row),
            "row {row} was answered without its third part"
        );
        ensure!(
            seen.insert(row, ()).is_none(),
            "row {row} was answered twice"
        );
        let anomaly = rows[row % rows.len()].anomaly;
        anomalies.0 += usize::from(anomaly);
        anomalies.1 += usize::from(anomaly && answer.anomaly);
        scored.push((answer.score, anomaly));
        let complete = sent.last_part[row].context("an answer to a row that was not sent")?;
        latency_ms.push(answer.at.saturating_duration_since(complete).as_secs_f64() * 1_000.0);
    }
    Ok(Report {
        messages: sent.messages,
        sending: sent.took,
        incomplete: count - expected(count),
        answered: answers.len(),
        anomalies,
        auc: auc(&scored).context("the rows have no anomaly")?,
        latency_ms,
    })
}

/// Area under the ROC curve: the share of (anomaly, normal) pairs in which the anomaly scores lower, ties counting
/// half. `None` without both kinds of rows.
fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut anomalies, mut at) = (0.0, 0_usize, 0);
    while at < sorted.len() {
        let tied = sorted[at..]
            .iter()
            .take_while(|(score, _)| *score == sorted[at].0);
        let (low, normal) = tied.fold((0, 0), |(low, normal), (_, anomaly)| {
            (low + usize::from(*anomaly), normal + usize::from(!anomaly))
        });
        wins += normal as f64 * (anomalies as f64 + low as f64 / 2.0);
        anomalies += low;
        at += low + normal;
    }
    let pairs = anomalies * (sorted.len() - anomalies);
    (pairs > 0).then(|| wins / pairs as f64)
}

fn connect(broker: SocketAddr, name: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(name, broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = AsyncClient::new(options, 64);
    events.network_options.set_tcp_nodelay(true);
    (client, events)
}

#[cfg(test)]
mod tests {
    use super::auc;

    #[test]
    fn auc_is_the_share_of_rightly_ordered_pairs() {
        assert_eq!(auc(&[(-1.0, true), (0.5, false), (0.2, false)]), Some(1.0));
        assert_eq!(auc(&[(0.3, true), (0.5, false), (0.2, false)]), Some(0.5));
        assert_eq!(auc(&[(0.3, true), (0.3, false)]), Some(0.5));
        assert_eq!(auc(&[(0.3, true)]), None);
    }
}
