//! A fleet at work, and strangers who want to keep cloudcore from it: a flood of first packets from many ports,
//! connections that dribble their handshake, and sessions that send and never read.
//!
//! Measured is what the fleet and an operator notice, what cloudcore's memory grows to, and whether it gives back
//! what the strangers held.

mod strangers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edge_core::link::Transport;
use serde::Serialize;

pub(crate) use self::strangers::first_packets;
use self::strangers::{Attack, DEAF, INITIALS, Strangers, open};
use crate::agent::Numbers;
use crate::identity::Identity;
use crate::operator::{Operator, Seen};
use crate::storm::{Fleet, Size, pss_kib};

/// How long each attack lasts.
const LASTS: Duration = Duration::from_secs(10);

/// Until what the strangers held is free again: the longest handshake and a little.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(15);

/// What an operator and the fleet noticed of one attack.
#[derive(Debug, Serialize)]
pub(crate) struct Noticed {
    pub(crate) attack: &'static str,
    /// Packets or bytes or messages that were sent.
    pub(crate) sent: u64,
    pub(crate) operator: Seen,
    /// Dials of the fleet during the attack: a session that broke dials again.
    pub(crate) fleet_dials: u64,
    pub(crate) connected: usize,
    /// How long a node took to get a session meanwhile, over QUIC and over WebSocket.
    pub(crate) quic_ms: Option<u64>,
    pub(crate) websocket_ms: Option<u64>,
    /// Proportional set size of cloudcore, at its highest.
    pub(crate) pss_kib_max: u64,
    /// And afterwards.
    pub(crate) pss_kib_after: u64,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Siege {
    pub(crate) agents: usize,
    pub(crate) quiet: Seen,
    pub(crate) pss_kib_before: u64,
    pub(crate) attacks: Vec<Noticed>,
}

/// Runs the attacks one after the other. The last nodes of the fleet are the strangers' and the one that dials.
pub(crate) async fn run(directory: &std::path::Path, size: Size) -> Result<Siege> {
    let with_strangers = Size {
        agents: size.agents + DEAF + 1,
        ..size
    };
    let (mut fleet, mut others, _) =
        Fleet::start_with_spares(directory, with_strangers, DEAF + 1).await?;
    fleet.all_back(fleet.plant.began).await?;
    let operator = Operator::new(&fleet.cloud.data_directory(), fleet.cloud.addresses())?;
    let mut numbers = Numbers(size.seed);
    let looking = operator.look(&fleet.nodes, Numbers(numbers.next()));
    drop(tokio::time::timeout(LASTS, looking).await);
    let quiet = operator.take();
    let pid = fleet.cloud.process().id()?;
    let pss_kib_before = pss_kib(pid)?;
    let visitor = others.pop().context("no spare node")?;
    let mut attacks = Vec::new();
    let initials = Arc::new(first_packets(&fleet, &visitor, INITIALS)?);
    for attack in [Attack::Initials, Attack::Dribble, Attack::Deaf] {
        let strangers = Strangers {
            quic: fleet.cloud.addresses().quic,
            websocket: fleet.cloud.addresses().websocket,
            initials: Arc::clone(&initials),
            sent: Arc::default(),
        };
        let noticed = besieged(
            &fleet,
            &operator,
            &visitor,
            (attack, &strangers, &others),
            pid,
        );
        attacks.push(noticed.await?);
    }
    Ok(Siege {
        agents: size.agents,
        quiet,
        pss_kib_before,
        attacks,
    })
}

/// Worst API answer, of a hundred, during an attack: what a person does not call hanging, on a machine that runs
/// fleet, strangers and cloudcore.
const API_P99_MS_MAX: u64 = 500;

/// How much cloudcore may grow under an attack: full doors and what 40 nodes may hold at most.
const GROWTH_KIB_MAX: u64 = 192 * 1024;

impl Siege {
    /// Whether nobody who has a right to cloudcore suffered.
    pub(crate) fn judge(&self) -> Result<()> {
        for noticed in &self.attacks {
            let (attack, operator) = (noticed.attack, &noticed.operator);
            ensure!(
                operator.failed == 0,
                "{attack}: calls failed: {:?}",
                operator.failures
            );
            ensure!(
                operator.p99_ms <= API_P99_MS_MAX,
                "{attack}: the API's p99 is {} ms",
                operator.p99_ms
            );
            ensure!(
                noticed.fleet_dials == 0 && noticed.connected == self.agents,
                "{attack}: {} dials, {} of {} connected",
                noticed.fleet_dials,
                noticed.connected,
                self.agents
            );
            ensure!(
                noticed.quic_ms.is_some() && noticed.websocket_ms.is_some(),
                "{attack}: a node got no session"
            );
            let grown_kib = noticed.pss_kib_max.saturating_sub(self.pss_kib_before);
            ensure!(
                grown_kib <= GROWTH_KIB_MAX,
                "{attack}: cloudcore grew by {grown_kib} KiB"
            );
        }
        Ok(())
    }
}

async fn besieged(
    fleet: &Fleet,
    operator: &Operator,
    visitor: &Identity,
    (attack, strangers, deaf): (Attack, &Strangers, &[Identity]),
    pid: u32,
) -> Result<Noticed> {
    fleet.plant.tally.next_phase();
    let agents = fleet.nodes.len();
    let mut pss_kib_max = 0;
    let (mut quic_ms, mut websocket_ms) = (None, None);
    {
        let attacking = strangers.attack(fleet, attack, deaf);
        let looking = operator.look(&fleet.nodes, Numbers(agents as u64));
        let visiting = async {
            // In the middle of it, when whatever they can hold is held.
            tokio::time::sleep(LASTS / 2).await;
            quic_ms = visit(fleet, visitor, Transport::Quic).await;
            websocket_ms = visit(fleet, visitor, Transport::WebSocket).await;
            std::future::pending::<()>().await;
        };
        let weighing = async {
            loop {
                pss_kib_max = pss_kib_max.max(pss_kib(pid).unwrap_or(0));
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::select! {
            attacked = attacking => attacked?,
            () = looking => unreachable!("the operator looks for good"),
            () = visiting => unreachable!("it waits for good"),
            () = weighing => {}
        }
    }
    let tally = &fleet.plant.tally;
    let noticed = Noticed {
        attack: attack.name(),
        sent: strangers.sent.load(Ordering::Relaxed),
        operator: operator.take(),
        fleet_dials: tally.attempts.load(Ordering::Relaxed),
        connected: tally.connected.load(Ordering::Relaxed),
        quic_ms,
        websocket_ms,
        pss_kib_max,
        pss_kib_after: 0,
    };
    // The strangers are gone; what they held comes back.
    tokio::time::sleep(GIVEN_BACK_WITHIN).await;
    Ok(Noticed {
        pss_kib_after: pss_kib(pid)?,
        ..noticed
    })
}

/// How long a node takes to get a session; `None` when it gets none in time.
async fn visit(fleet: &Fleet, identity: &Identity, transport: Transport) -> Option<u64> {
    let began = Instant::now();
    let open = open(fleet, 0, identity, transport);
    match tokio::time::timeout(Duration::from_secs(10), open).await {
        Ok(Ok(wire)) => {
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            wire.close().await;
            Some(took)
        }
        Ok(Err(error)) => {
            eprintln!("{transport} during the attack: {error:#}");
            None
        }
        Err(_) => None,
    }
}
