//! An HTTP proxy as plants have them: `CONNECT` only, with Basic authentication when it is given a user.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest head of a request; what is longer is no request of ours.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Tunnels asked for; the list is for looking at and would otherwise grow with a broken agent.
const ASKED_MAX: usize = 10_000;

/// A tunnel somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `host:port` as it was written.
    pub target: String,
    /// What the proxy answered.
    pub status: u16,
}

/// The proxy; dropping it ends it and every tunnel.
pub struct ConnectProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: JoinSet<()>,
}

impl ConnectProxy {
    /// Starts on a port the system chooses. `authorization` is what `Proxy-Authorization` must be.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(authorization: Option<&'static str>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("binding the proxy")?;
        let address = listener.local_addr()?;
        // Written by the tunnels, read by the case.
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, authorization, Arc::clone(&asked)));
        Ok(Self {
            address,
            asked,
            _task: task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every tunnel asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

async fn serve(
    listener: TcpListener,
    authorization: Option<&'static str>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    let mut tunnels = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    tunnels.spawn(tunnel(near, authorization, Arc::clone(&asked)));
                }
            }
            Some(_ended) = tunnels.join_next() => {}
        }
    }
}

async fn tunnel(
    near: TcpStream,
    authorization: Option<&'static str>,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Option<()> {
    let mut near = BufStream::new(near);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(near.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let given = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then_some(value)
    });
    let far = match authorization {
        Some(wanted) if given != Some(wanted) => Err(407),
        Some(_) | None => TcpStream::connect(&target).await.map_err(|_| 502),
    };
    let status = far.as_ref().map_or_else(|status| *status, |_| 200);
    note(&asked, Asked { target, status });
    let answer = match status {
        200 => "HTTP/1.1 200 Connection established\r\n\r\n",
        407 => {
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"plant\"\r\nContent-Length: 0\r\n\r\n"
        }
        _ => "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    };
    near.write_all(answer.as_bytes()).await.ok()?;
    near.flush().await.ok()?;
    tokio::io::copy_bidirectional(&mut near, &mut far.ok()?)
        .await
        .ok()?;
    Some(())
}

fn note(asked: &Mutex<Vec<Asked>>, new: Asked) {
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    if asked.len() < ASKED_MAX {
        asked.push(new);
    }
}
