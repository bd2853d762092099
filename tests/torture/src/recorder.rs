//! The recorder: a process that does to a real outbox what it is told, and tells what came of it.
//!
//! It decides nothing, so that everything random is in the torturer's seed. An append is reported only
//! after it returned: what the torturer has read of the pipe was durable.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use edge_agent::store::{Outbox, OutboxLimits, Outgoing, OutgoingBody, RecoveryNote, StoreError};
use edge_core::link::Transport;
use edge_core::outbox::{Room, Stream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::message::{self, Event, Hello, Notes, Order, Sent, StreamIndex, index};
use crate::record::{self, Token};

/// Orders that may wait; the torturer keeps far fewer under way.
const ORDERS_MAX: usize = 1_024;

/// Bytes of one offer: whatever the number of records allows.
const OFFER_BYTES: u64 = 16 * 1024 * 1024;

/// Where and how to record.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Recording {
    /// The outbox.
    #[arg(long)]
    pub(crate) directory: PathBuf,
    /// Free space below which appends are refused, in bytes.
    #[arg(long, default_value_t = 0)]
    pub(crate) free_bytes_min: u64,
}

impl Recording {
    /// The limits to open the outbox with.
    #[must_use]
    pub(crate) fn limits(&self) -> OutboxLimits {
        OutboxLimits {
            free_bytes_min: self.free_bytes_min,
            ..OutboxLimits::default()
        }
    }
}

/// Runs until told to close or the torturer is gone.
///
/// # Errors
/// When the pipe breaks or carries what is no order.
pub(crate) fn run(recording: &Recording) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("making a runtime")?;
    let orders = orders();
    LocalSet::new().block_on(&runtime, serve(recording, orders))
}

/// Reads orders on a thread of its own, because a pipe has no asynchronous end here.
fn orders() -> mpsc::Receiver<Order> {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    std::thread::spawn(move || {
        let mut buffer = Vec::new();
        let mut chunk = [0; 4096];
        let mut input = std::io::stdin().lock();
        while let Ok(length @ 1..) = input.read(&mut chunk) {
            buffer.extend_from_slice(&chunk[..length]);
            while let Ok(Some(order)) = message::take(&mut buffer) {
                if sender.blocking_send(order).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

fn tell(event: &Event) {
    // A torturer that went away needs no answer; its pipe's end ends this process too.
    drop(std::io::stdout().lock().write_all(&message::encode(event)));
    drop(std::io::stdout().flush());
}

async fn serve(recording: &Recording, mut orders: mpsc::Receiver<Order>) -> Result<()> {
    let opened = Outbox::open(recording.directory.clone(), recording.limits()).await;
    let (outbox, notes) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tell(&Event::Refused(describe(&error)));
            return Ok(());
        }
    };
    tell(&Event::Opened(noted(&notes)));
    let outbox = Rc::new(outbox);
    while let Some(order) = orders.recv().await {
        let outbox = Rc::clone(&outbox);
        match order {
            Order::Append(tokens) => {
                for token in tokens {
                    tokio::task::spawn_local(append(Rc::clone(&outbox), token));
                }
            }
            Order::Close => {
                outbox.as_ref().clone().close().await;
                tell(&Event::Closed);
                return Ok(());
            }
            session => {
                tokio::task::spawn_local(async move {
                    let event = in_session(&outbox, session).await;
                    tell(&event.unwrap_or_else(|error| Event::SessionFailed(describe(&error))));
                });
            }
        }
    }
    Ok(())
}

async fn append(outbox: Rc<Outbox>, token: Token) {
    let payload = Bytes::from(record::payload(token));
    let event = match outbox.append(record::stream(token), payload).await {
        Ok(place) => Event::Appended(token, *place.lineage.as_bytes(), place.sequence),
        Err(error) => Event::Failed(token, describe(&error)),
    };
    tell(&event);
}

async fn in_session(outbox: &Outbox, order: Order) -> Result<Event, StoreError> {
    match order {
        Order::Greet => hello(outbox).await.map(Event::Greeted),
        Order::Welcome(watermarks) => {
            welcome(outbox, &watermarks).await?;
            Ok(Event::Welcomed)
        }
        Order::Offer(records) => offer(outbox, records).await.map(Event::Offered),
        Order::Acknowledge(stream, through) => {
            outbox.acknowledge(named(stream), through).await?;
            Ok(Event::Acknowledged)
        }
        Order::Append(_) | Order::Close => unreachable!("the loop takes these itself"),
    }
}

/// What the outbox says in a Hello.
///
/// # Errors
/// When the outbox refuses.
pub(crate) async fn hello(outbox: &Outbox) -> Result<Hello, StoreError> {
    let greeting = outbox.greet().await?;
    let streams = greeting.streams.iter();
    Ok(Hello {
        lineage: *greeting.lineage.as_bytes(),
        streams: streams
            .map(|(stream, oldest, head)| (index(*stream), *oldest, head.next))
            .collect(),
    })
}

/// Tells the outbox what a Welcome said.
///
/// # Errors
/// When the outbox refuses.
pub(crate) async fn welcome(
    outbox: &Outbox,
    watermarks: &[(StreamIndex, u64)],
) -> Result<(), StoreError> {
    let watermarks = watermarks
        .iter()
        .map(|(stream, through)| (named(*stream), *through));
    let secret = b"a secret of a session".to_vec();
    outbox
        .welcomed(Transport::Quic, secret, watermarks.collect())
        .await
}

/// What the outbox offers next.
///
/// # Errors
/// When the outbox refuses.
pub(crate) async fn offer(outbox: &Outbox, records: usize) -> Result<Vec<Sent>, StoreError> {
    let room = Room {
        records,
        bytes: OFFER_BYTES,
    };
    let outgoing = outbox.offer(room).await?;
    let sent = |outgoing: Outgoing| Sent {
        stream: index(outgoing.stream),
        first: outgoing.first,
        last: outgoing.last,
        payload: match outgoing.body {
            OutgoingBody::Record(payload) => Some(payload.to_vec()),
            OutgoingBody::Gap(_) => None,
        },
    };
    Ok(outgoing.into_iter().map(sent).collect())
}

/// The stream at a place of [`Stream::ALL`].
#[must_use]
pub(crate) fn named(stream: StreamIndex) -> Stream {
    Stream::ALL[usize::from(stream)]
}

/// What an opening noted.
#[must_use]
pub(crate) fn noted(notes: &[RecoveryNote]) -> Notes {
    let mut noted = Notes::default();
    for note in notes {
        match note {
            RecoveryNote::Repaired { .. } => noted.repaired += 1,
            other => noted.losses.push(other.to_string()),
        }
    }
    noted
}

/// An error with what is behind it.
#[must_use]
pub(crate) fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
