//! A network to which everything happens, in an order a seed decides.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millwright_tests::fleet::Fleet;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use millwright_tests::wan::{Lane, Wan, Weather};

use super::{behind, counted_once, load, options, scale};

/// Shortest and longest time a condition holds: shorter and longer than the agent's patience.
const HOLDS_MS: (u64, u64) = (500, 9_000);

/// Everything is well for up to this long between two accidents, so that sessions come about.
const WELL_MS_MAX: u64 = 4_000;

const STEPS: u64 = 5;

const SEED: u64 = 20_260_721;

/// An accident.
#[derive(Clone, Copy, Debug)]
enum Accident {
    Cut(&'static [Lane]),
    OnlyHandshakes,
    BadWeather(Weather),
    NewAddress,
    BrokenConnections,
    CloudKilled,
}

/// Draws what happens; the same seed draws the same.
struct Dice(u64);

impl Dice {
    /// A number below `end`, by xorshift64* (Marsaglia, Vigna).
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn accident(&mut self) -> Accident {
        match self.below(9) {
            0 => Accident::Cut(&Lane::UDP),
            1 => Accident::Cut(&Lane::TCP),
            2 => Accident::Cut(&Lane::ALL),
            3 => Accident::Cut(&[Lane::UdpUp, Lane::TcpUp]),
            4 => Accident::Cut(&[Lane::UdpDown]),
            5 => Accident::OnlyHandshakes,
            6 => Accident::NewAddress,
            7 => match self.below(2) {
                0 => Accident::BrokenConnections,
                _ => Accident::CloudKilled,
            },
            _ => Accident::BadWeather(Weather {
                delay_ms: self.below(300),
                jitter_ms: self.below(100),
                loss_per_mille: self.below(150),
                reorder_per_mille: self.below(100),
                duplicate_per_mille: self.below(100),
                rate_bytes: 32_000 + self.below(200_000),
            }),
        }
    }
}

async fn happen(accident: Accident, fleet: &mut Fleet, wan: &Wan) -> Result<()> {
    match accident {
        Accident::Cut(lanes) => wan.cut(lanes),
        Accident::OnlyHandshakes => wan.pass_only_handshakes(),
        Accident::BadWeather(weather) => wan.set_weather(weather),
        Accident::NewAddress => wan.change_address(),
        Accident::BrokenConnections => wan.break_connections(),
        Accident::CloudKilled => fleet.cloud.kill_and_restart().await?,
    }
    Ok(())
}

fn clear(wan: &Wan) {
    wan.restore(&Lane::ALL);
    wan.pass_everything();
    wan.set_weather(Weather::default());
}

/// The load goes on meanwhile.
async fn goes_on(for_ms: u64) -> Result<()> {
    let (began, for_ms) = (Instant::now(), Duration::from_millis(for_ms));
    until(
        "end of the accident",
        2 * for_ms + Duration::from_secs(1),
        async || Ok((began.elapsed() >= for_ms).then_some(())),
    )
    .await
}

/// `FAULT_STEPS=500 FAULT_SEED=7` is the long form.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_network_every_request_is_counted_once() -> Result<()> {
    let (steps, seed) = (scale("FAULT_STEPS", STEPS)?, scale("FAULT_SEED", SEED)?);
    let told = || format!("with FAULT_SEED={seed} FAULT_STEPS={steps}");
    let (mut fleet, wan) = behind(seed, options()?, |_| {}).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    // Spread over all bits: small seeds would begin alike.
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for step in 0..steps {
        let accident = dice.accident();
        println!("step {step}: {accident:?}");
        happen(accident, &mut fleet, &wan)
            .await
            .with_context(told)?;
        goes_on(HOLDS_MS.0 + dice.below(HOLDS_MS.1 - HOLDS_MS.0)).await?;
        clear(&wan);
        goes_on(dice.below(WELL_MS_MAX)).await?;
    }
    counted_once(&fleet, &load.stop().await?)
        .await
        .with_context(told)
}
