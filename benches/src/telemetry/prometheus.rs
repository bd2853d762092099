//! Debian's Prometheus in agent mode, and the server that counts what it writes.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use millwright_tests::process::Process;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::peers;

/// Answer to a write that was taken.
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Largest request head that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Prometheus {
    counted: Arc<AtomicU64>,
    _process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Scrapes `target` every `seconds` and writes to a counting server.
    pub(super) async fn start(target: SocketAddr, seconds: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let counted = Arc::new(AtomicU64::new(0));
        tokio::spawn(count(listener, Arc::clone(&counted)));
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let config = format!(
            "global: {{scrape_interval: {seconds}s}}\n\
             scrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{target}']}}]\n\
             remote_write:\n- url: http://{address}/write\n  metadata_config: {{send: false}}\n"
        );
        std::fs::write(at("prometheus.yml"), config)?;
        let program = peers::debian("prometheus")?.join("usr/bin/prometheus");
        let mut command = Command::new(program);
        command
            .args(["--enable-feature=agent", "--web.listen-address=127.0.0.1:0"])
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.agent.path={}", at("data").display()));
        let process = Process::start("prometheus", &mut command, &at("log"))?;
        Ok(Self {
            counted,
            _process: process,
            _directory: directory,
        })
    }

    /// Bytes of all requests and answers so far.
    pub(super) fn bytes(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

async fn count(listener: TcpListener, counted: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let counted = Arc::clone(&counted);
        tokio::spawn(async move {
            // A connection that breaks is opened again by Prometheus, and counted again.
            let _ = answer(stream, &counted).await;
        });
    }
}

async fn answer(mut stream: TcpStream, counted: &AtomicU64) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            anyhow::ensure!(buffer.len() < HEAD_BYTES_MAX, "no end of the head");
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("no length")?.trim().parse()?;
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..head + length);
        stream.write_all(TAKEN).await?;
        counted.fetch_add((head + length + TAKEN.len()) as u64, Ordering::Relaxed);
    }
}
