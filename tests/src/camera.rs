//! A network camera as plants have them: an MJPEG stream and single pictures over HTTP, with Basic authentication.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest head of a request; what is longer is no request of ours.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Time between two pictures of the stream.
const PICTURE_EVERY: Duration = Duration::from_millis(100);

/// `viewer:plant`, as Basic authentication writes it.
const AUTHORISATION: &str = "Basic dmlld2VyOnBsYW50";

/// A camera; dropping it unplugs it.
pub struct MjpegCamera {
    address: SocketAddr,
    state: Arc<State>,
    _task: JoinSet<()>,
}

struct State {
    pictures: Vec<Vec<u8>>,
    /// Which of them it sees.
    seen: AtomicUsize,
    /// A stream of an older number ends.
    cuts: AtomicU64,
    opened: AtomicU64,
}

impl MjpegCamera {
    /// User and password it asks for.
    pub const LOGIN: (&'static str, &'static str) = ("viewer", "plant");

    /// Starts on a port the system chooses, and sees the first of `pictures` (JPEG).
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(pictures: Vec<Vec<u8>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("binding the camera")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            pictures,
            seen: AtomicUsize::new(0),
            cuts: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _task: task,
        })
    }

    /// Address of the stream.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("http://{}/mjpg/video.mjpg", self.address)
    }

    /// Address of a single picture.
    #[must_use]
    pub fn snapshot(&self) -> String {
        format!("http://{}/snapshot.jpg", self.address)
    }

    /// Looks at another picture from now on.
    pub fn look_at(&self, picture: usize) {
        self.state.seen.store(picture, Ordering::SeqCst);
    }

    /// Breaks every stream off in the middle of a picture, as a loose cable does.
    pub fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
    }

    /// Streams and pictures that were asked for with the right password.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.state.opened.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut viewers = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // A viewer that goes is no fault of the camera's.
        viewers.spawn(async move {
            let _ = answer(stream, &state).await;
        });
        while viewers.try_join_next().is_some() {}
    }
}

async fn answer(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let known = head.lines().any(|line| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        name.eq_ignore_ascii_case("authorization") && value.trim() == AUTHORISATION
    });
    if !known {
        let refused = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"camera\"\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refused.as_bytes()).await?;
        return stream.flush().await;
    }
    state.opened.fetch_add(1, Ordering::SeqCst);
    let picture = || &state.pictures[state.seen.load(Ordering::SeqCst)];
    if head.starts_with("GET /snapshot.jpg ") {
        let picture = picture();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(picture).await?;
        return stream.flush().await;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let cuts = state.cuts.load(Ordering::SeqCst);
    let mut ticks = tokio::time::interval(PICTURE_EVERY);
    loop {
        ticks.tick().await;
        let picture = picture();
        let head = format!(
            "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        stream.write_all(head.as_bytes()).await?;
        if state.cuts.load(Ordering::SeqCst) != cuts {
            stream.write_all(&picture[..picture.len() / 2]).await?;
            return stream.flush().await;
        }
        stream.write_all(picture).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;
    }
}
