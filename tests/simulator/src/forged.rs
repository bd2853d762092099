//! First packets of QUIC whose senders never say another word, as those of somebody who forges the address of
//! a victim: cloudcore must be no lever against whoever has that address. It asks for a proof of the address
//! (Retry) and begins no handshake without.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::siege::first_packets;
use crate::storm::{Fleet, Size};

/// Ports that send one packet each.
const SENDERS: usize = 200;

/// Longer than cloudcore keeps a handshake that does not go on, so that whatever it would repeat is counted.
const LISTENS: Duration = Duration::from_secs(13);

/// RFC 9000, section 8.1: what may be sent to an address that is not proven yet.
const FACTOR_MAX: f64 = 3.0;

/// First byte of a Retry packet: long header, fixed bit, type 3.
const RETRY: u8 = 0xf0;

/// The longest packet there can be.
const PACKET_BYTES_MAX: usize = 65_535;

/// What one sender got back.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    sent_bytes: usize,
    received_bytes: usize,
    asked_for_proof: bool,
}

/// What all of them got back.
#[derive(Debug, Serialize)]
pub(crate) struct Forged {
    senders: usize,
    /// Whose answer was a Retry.
    asked_for_proof: usize,
    /// Whose answer was anything else: the beginning of a handshake.
    began: usize,
    sent_bytes: usize,
    received_bytes: usize,
    /// Most bytes of an answer for each byte that was sent.
    factor_max: f64,
}

/// Sends a first packet from each of many ports and counts what comes back.
pub(crate) async fn run(directory: &std::path::Path, size: Size) -> Result<Forged> {
    let alone = Size { agents: 1, ..size };
    let (fleet, identities, _) = Fleet::start_with_spares(directory, alone, 1).await?;
    let target = fleet.cloud.addresses().quic;
    let until = Instant::now() + LISTENS;
    let mut senders = JoinSet::new();
    for packet in first_packets(&fleet, &identities[0], SENDERS)? {
        senders.spawn(send(target, packet, until));
    }
    let answers = senders.join_all().await.into_iter();
    Ok(Forged::of(&answers.collect::<Result<Vec<_>>>()?))
}

async fn send(target: SocketAddr, packet: Vec<u8>, until: Instant) -> Result<Answer> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let mut answer = Answer {
        sent_bytes: socket.send_to(&packet, target).await?,
        ..Answer::default()
    };
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
        answer.received_bytes += received?;
        answer.asked_for_proof |= buffer[0] & RETRY == RETRY;
    }
    Ok(answer)
}

impl Forged {
    fn of(answers: &[Answer]) -> Self {
        let factor = |answer: &Answer| answer.received_bytes as f64 / answer.sent_bytes as f64;
        let asked = answers.iter().filter(|answer| answer.asked_for_proof);
        let asked_for_proof = asked.count();
        let answered = answers.iter().filter(|answer| answer.received_bytes > 0);
        Self {
            senders: answers.len(),
            asked_for_proof,
            began: answered.count() - asked_for_proof,
            sent_bytes: answers.iter().map(|answer| answer.sent_bytes).sum(),
            received_bytes: answers.iter().map(|answer| answer.received_bytes).sum(),
            factor_max: answers.iter().map(factor).fold(0.0, f64::max),
        }
    }

    /// Whether nobody would gain by forging.
    pub(crate) fn judge(&self) -> Result<()> {
        ensure!(
            self.asked_for_proof > 0 && self.began == 0,
            "not everybody was asked for a proof of the address: {self:?}"
        );
        ensure!(
            self.factor_max <= FACTOR_MAX,
            "an address that was not proven got {:.2} times what it sent, more than {FACTOR_MAX}",
            self.factor_max
        );
        Ok(())
    }
}
