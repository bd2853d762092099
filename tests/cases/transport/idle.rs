//! What a session costs that has nothing to say.

use std::time::Duration;

use anyhow::{Result, ensure};
use fleet_api::Transport;
use millwright_tests::agent::AgentOptions;
use millwright_tests::wait::until;
use millwright_tests::wan::{Lane, Wan, Weather};

use super::{CONNECT_DEADLINE, behind, on, options, scale};

/// All headers included.
const BYTES_PER_MINUTE_MAX: u64 = 400;

/// Between two pings.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A ping and its answer are done with this long after the ping.
const SETTLED: Duration = Duration::from_secs(4);

/// A round trip of 200 ms: on a shorter one a busy machine answers late enough to be asked twice, which is
/// the machine's cost and not the protocol's.
const FAR: Weather = Weather {
    delay_ms: 100,
    jitter_ms: 0,
    loss_per_mille: 0,
    reorder_per_mille: 0,
    duplicate_per_mille: 0,
    rate_bytes: 0,
};

/// One window an hour: nothing but keep-alive happens.
fn silent(transport: &str) -> Result<AgentOptions> {
    let mut options = options()?;
    options.summary_window_seconds = 3_600;
    options.cloud.push(format!("transport: {transport}"));
    Ok(options)
}

/// Bytes and packets on `lanes` in `periods` keep-alive periods, beginning right after a ping.
async fn cost(wan: &Wan, lanes: &[Lane; 2], periods: u64) -> Result<(u64, u64)> {
    let sent = |since| wan.traffic().since(&since).on(lanes[0]).packets;
    let mut pings = Vec::new();
    for _ in 0..=periods {
        let before = wan.traffic();
        until("a ping", 2 * KEEP_ALIVE, async || {
            Ok((sent(before) > 0).then_some(()))
        })
        .await?;
        let began = std::time::Instant::now();
        until("the end of the exchange", 2 * SETTLED, async || {
            Ok((began.elapsed() > SETTLED).then_some(()))
        })
        .await?;
        pings.push(wan.traffic());
    }
    let all = pings[pings.len() - 1].since(&pings[0]);
    let packets = lanes.iter().map(|lane| all.on(*lane).packets).sum();
    Ok((all.wire_bytes(lanes), packets))
}

/// `IDLE_PERIODS=36` looks at twelve minutes.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_over_quic_costs_at_most_400_bytes_a_minute() -> Result<()> {
    let periods = scale("IDLE_PERIODS", 1)?;
    let (quic, quic_wan) = behind(7, silent("quic")?, |wan| wan.set_weather(FAR)).await?;
    let (websocket, websocket_wan) =
        behind(8, silent("websocket")?, |wan| wan.set_weather(FAR)).await?;
    on(&quic, Transport::Quic, CONNECT_DEADLINE).await?;
    on(&websocket, Transport::Websocket, CONNECT_DEADLINE).await?;
    let (over_quic, over_websocket) = tokio::join!(
        cost(&quic_wan, &Lane::UDP, periods),
        cost(&websocket_wan, &Lane::TCP, periods),
    );
    let a_minute = |bytes: u64| bytes * 3 / periods;
    let ((quic_bytes, quic_packets), (websocket_bytes, _)) = (over_quic?, over_websocket?);
    println!(
        "idle: QUIC {} bytes a minute ({quic_packets} packets in {periods} periods), WebSocket at most {}",
        a_minute(quic_bytes),
        a_minute(websocket_bytes)
    );
    ensure!(
        a_minute(quic_bytes) <= BYTES_PER_MINUTE_MAX,
        "QUIC costs {} bytes a minute",
        a_minute(quic_bytes)
    );
    ensure!(quic_packets >= 2 * periods, "no keep-alive was seen");
    Ok(())
}
