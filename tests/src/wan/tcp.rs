//! The TCP relay. The agent's connection is always taken (the kernel does that); while a lane is cut, nothing
//! moves on it, as when every segment is swallowed and sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Fate, Lane, Shared};

/// Most bytes that share one fate.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks under way in one direction of a connection; then the sender waits, as with a full window.
const UNDER_WAY_MAX: usize = 64;

/// What a lost segment costs at least: Linux repeats it after 200 ms, and a round trip passes.
const REPEAT_US: u64 = 200_000;

/// Accepts connections and relays each to `server`.
pub(super) async fn relay(shared: Arc<Shared>, listener: TcpListener, server: SocketAddr) {
    let mut connections = JoinSet::new();
    let mut conditions = shared.conditions.subscribe();
    let mut broken = conditions.borrow_and_update().broken;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is a connection that was given up before it was taken.
                if let Ok((near, _)) = accepted {
                    connections.spawn(connection(Arc::clone(&shared), near, server));
                }
            }
            changed = conditions.changed() => {
                if changed.is_err() {
                    return;
                }
                let now_broken = conditions.borrow_and_update().broken;
                if now_broken != broken {
                    broken = now_broken;
                    connections.abort_all();
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(shared: Arc<Shared>, near: TcpStream, server: SocketAddr) {
    passable(&shared, &Lane::TCP).await;
    shared.book(super::Traffic::connection);
    let Ok(far) = TcpStream::connect(server).await else {
        return;
    };
    // An error means that the connection is gone already, which the relay then finds.
    drop(near.set_nodelay(true).and_then(|()| far.set_nodelay(true)));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(
        direction(&shared, Lane::TcpUp, near_read, far_write),
        direction(&shared, Lane::TcpDown, far_read, near_write),
    );
}

/// Relays one direction until its end, and passes the end on.
async fn direction(shared: &Shared, lane: Lane, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (chunks, mut due) = mpsc::channel::<(u64, Vec<u8>)>(UNDER_WAY_MAX);
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            shared.book(|traffic| traffic.stream(lane, length));
            let at_us = arrival(shared, lane, length);
            if chunks
                .send((at_us, buffer[..length].to_vec()))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let write = async move {
        while let Some((at_us, bytes)) = due.recv().await {
            let wait_us = at_us.saturating_sub(shared.now_us());
            if wait_us > 0 {
                tokio::time::sleep(Duration::from_micros(wait_us)).await;
            }
            passable(shared, &[lane]).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        passable(shared, &[lane]).await;
        // An error means that the other side is gone, and then it needs no end.
        drop(to.shutdown().await);
    };
    tokio::join!(read, write);
}

/// When a chunk arrives that enters now: a loss is repeated until it gets through.
fn arrival(shared: &Shared, lane: Lane, bytes: usize) -> u64 {
    let mut late_us = 0;
    loop {
        match shared.fate(lane, bytes) {
            Fate::Arrives { at_us, .. } => return at_us + late_us,
            Fate::Lost => {
                shared.book(|traffic| traffic.lost(lane));
                let delay_ms = shared.conditions.borrow().weather.delay_ms;
                late_us += REPEAT_US + 2_000 * delay_ms;
            }
        }
    }
}

/// Waits until none of the lanes is cut.
async fn passable(shared: &Shared, lanes: &[Lane]) {
    let mut conditions = shared.conditions.subscribe();
    let open = conditions.wait_for(|now| !lanes.iter().any(|lane| now.is_cut(*lane)));
    // The sender lives as long as `shared`.
    let _ = open.await;
}
