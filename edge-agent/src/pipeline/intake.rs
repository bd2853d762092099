//! From what a source brings to inputs in the queue: read, joined by time, gathered in windows.
//!
//! ```text
//! bytes ─▶ Reader ─▶ picture, message, elements ───────────────▶ Item ─▶ queue
//!             └────▶ parts of rows ─▶ Joiner ─▶ Windows ──────────▲
//! ```
//!
//! What cannot be read goes into the queue too, as what it is: its failure is told in its turn.

mod reader;

use std::time::Duration;

use bytes::Bytes;
use edge_core::sensors::{
    Dropped, Joined, Joiner, Joining, Outcome, Part as RowPart, Windows, by_field,
};
use millwright_pipeline::{Join, Order, Pipeline, Preprocess, Source, TimeOrder};
use tokio::time::Instant;

use super::gauge::{Count, Gauge};
use super::item::{Content, Fate, Item, Receipt, Receipts};
use super::message::Echo;
use super::queue::Queue;
use crate::status::ask::wall_ms;
pub(super) use reader::{Read, Reader, Row};

/// Takes what one source brings.
#[derive(Debug)]
pub(super) struct Intake {
    queue: Queue<Item>,
    gauge: Gauge,
    rows: Rows,
    began: Instant,
}

/// How rows become windows.
#[derive(Debug)]
struct Rows {
    fields: usize,
    joiner: Option<Joiner<Receipts>>,
    order: TimeOrder,
    windows: Option<Windows>,
    layout: Order,
}

impl Intake {
    /// For `pipeline`, into `queue`.
    pub(super) fn new(pipeline: &Pipeline, queue: Queue<Item>, gauge: Gauge) -> Self {
        Self {
            queue,
            gauge,
            rows: Rows::of(pipeline),
            began: Instant::now(),
        }
    }

    /// One reader per payload of the source, in its order.
    pub(super) fn readers(pipeline: &Pipeline) -> Vec<Reader> {
        let fields = row_fields(pipeline);
        let joined = matches!(&pipeline.spec.source, Source::Mqtt(mqtt) if mqtt.join.is_some());
        let payloads = pipeline.spec.source.payloads().into_iter();
        payloads
            .map(|payload| Reader::new(payload, &fields, joined))
            .collect()
    }

    /// Takes what arrived, waiting where the queue has no room and nothing may be dropped.
    pub(super) async fn take(
        &mut self,
        reader: &Reader,
        bytes: Bytes,
        echo: Echo,
        receipt: Option<Receipt>,
    ) {
        self.gauge.count(Count::Received);
        let receipts = Receipts::new(receipt);
        let content = match reader.read(bytes) {
            Ok(Read::Whole(content)) => content,
            Ok(Read::Rows(rows)) => return self.take_rows(rows, receipts, &echo).await,
            Err(error) => Content::Unreadable(error.to_string()),
        };
        self.put(Item {
            content,
            echo,
            received: Instant::now(),
            receipts,
        })
        .await;
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let due_us = self.rows.joiner.as_ref()?.due_us()?;
        let after = Duration::from_micros(u64::try_from(due_us).unwrap_or_default());
        self.began.checked_add(after)
    }

    /// Gives up waiting for values that did not come in time.
    pub(super) async fn tick(&mut self) {
        let now_us = self.now_us();
        if let Some(joiner) = &mut self.rows.joiner {
            let outcomes = joiner.tick(now_us);
            self.settle(outcomes).await;
        }
    }

    async fn take_rows(&mut self, rows: Vec<Row>, receipts: Receipts, echo: &Echo) {
        let last = rows.len().saturating_sub(1);
        let mut receipts = Some(receipts);
        for (at, row) in rows.into_iter().enumerate() {
            // Whoever waits, waits for the last row of what it sent.
            let receipts = if at == last { receipts.take() } else { None };
            let receipts = receipts.unwrap_or_default();
            let now_us = self.now_us();
            let arrived_us = wall_us();
            let time_us = match self.rows.order {
                TimeOrder::Timestamp => row.time_us.unwrap_or(arrived_us),
                TimeOrder::Arrival => arrived_us,
            };
            match &mut self.rows.joiner {
                Some(joiner) => {
                    let part = RowPart {
                        time_us,
                        values: row.values,
                        mark: receipts,
                    };
                    let outcomes = joiner.push(part, now_us);
                    self.settle(outcomes).await;
                }
                None => {
                    let mut values = vec![f64::NAN; self.rows.fields];
                    for (at, value) in row.values {
                        values[at] = value;
                    }
                    let echo = echo.or_at_us(time_us);
                    self.take_row(values, echo, receipts).await;
                }
            }
        }
        // An empty message has nothing to wait for.
        if let Some(receipts) = receipts {
            receipts.settle(Fate::Answered).await;
        }
    }

    async fn settle(&mut self, outcomes: Vec<Outcome<Receipts>>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Row(Joined {
                    time_us,
                    values,
                    marks,
                    ..
                }) => {
                    let echo = Echo::at_us(time_us);
                    self.take_row(values, echo, Receipts::all(marks)).await;
                }
                Outcome::Dropped(dropped) => {
                    self.gauge.count(Count::Dropped);
                    let receipts = match dropped {
                        Dropped::Incomplete(marks) => Receipts::all(marks),
                        Dropped::Late(mark) => mark,
                    };
                    receipts.settle(Fate::Dropped).await;
                }
            }
        }
    }

    async fn take_row(&mut self, values: Vec<f64>, echo: Echo, receipts: Receipts) {
        let window = match &mut self.rows.windows {
            Some(windows) => windows.push(values),
            None => Some(values),
        };
        let Some(mut window) = window else {
            // It is part of windows to come, which a broker cannot wait for.
            return receipts.settle(Fate::Answered).await;
        };
        if self.rows.layout == Order::Fields {
            window = by_field(&window, self.rows.fields);
        }
        self.put(Item {
            content: Content::Rows(window),
            echo,
            received: Instant::now(),
            receipts,
        })
        .await;
    }

    async fn put(&self, item: Item) {
        if let Some(dropped) = self.queue.put(item).await {
            self.gauge.count(Count::Dropped);
            dropped.receipts.settle(Fate::Dropped).await;
        }
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

impl Rows {
    fn of(pipeline: &Pipeline) -> Self {
        let fields = row_fields(pipeline).len();
        let join = match &pipeline.spec.source {
            Source::Mqtt(mqtt) => mqtt.join,
            Source::Camera(_) | Source::Video(_) | Source::Directory(_) | Source::Push(_) => None,
        };
        let window = match &pipeline.spec.preprocess {
            Some(Preprocess::Sensors(sensors)) => sensors.window,
            Some(Preprocess::Image(_)) | None => None,
        };
        Self {
            fields,
            joiner: join.map(|join| Joiner::new(joining(join, fields))),
            order: join.map_or(TimeOrder::Timestamp, |join| join.order),
            windows: window.map(|window| {
                let size = window.size as usize;
                Windows::new(size, window.step.map_or(size, |step| step as usize))
            }),
            layout: window.map_or(Order::Rows, |window| window.order),
        }
    }
}

fn joining(join: Join, fields: usize) -> Joining {
    let us = |ms: u32| i64::from(ms) * 1000;
    Joining {
        fields,
        tolerance_us: us(join.tolerance_ms),
        wait_us: us(join.wait_ms),
        hold_us: us(join.hold_last_ms),
    }
}

/// The values the model gets, in its order.
pub(super) fn row_fields(pipeline: &Pipeline) -> Vec<String> {
    match &pipeline.spec.preprocess {
        Some(Preprocess::Sensors(sensors)) if !sensors.fields.is_empty() => sensors.fields.clone(),
        _ => {
            let declared = pipeline.spec.source.row_fields();
            declared.into_iter().map(str::to_owned).collect()
        }
    }
}

fn wall_us() -> i64 {
    i64::try_from(wall_ms().saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
