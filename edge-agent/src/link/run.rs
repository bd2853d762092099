//! The loop of the link: dial, say Hello, run the session ([`live`]), and again.

mod asked;
mod live;

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_core::link::{Dialler, Ended, Step, Transport};
use millwright_proto::link::{Applied, FenceReason};
use tokio::sync::watch;

use super::blobs::Channel;
use super::dial::Dialers;
use super::network::NetworkMemory;
use super::session::{Action, Session, SessionEnd};
use super::totals::{Totals, whole_ms};
use super::wire::WireError;
use super::{LinkConfig, LinkState, LinkStatus, ReceivedDesired};
use crate::hard_examples::answer::Answers;
use crate::store::Outbox;
use live::Live;

/// Everything the task owns.
pub(super) struct Runner {
    pub(super) config: LinkConfig,
    pub(super) dialers: Dialers,
    pub(super) outbox: Outbox,
    pub(super) networks: NetworkMemory,
    pub(super) desired: watch::Sender<Option<ReceivedDesired>>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) server_time_ms: watch::Sender<u64>,
    pub(super) hard_examples: Arc<Answers>,
    pub(super) state: watch::Sender<LinkState>,
    pub(super) totals: Totals,
    pub(super) channel: watch::Sender<Option<Channel>>,
    pub(super) stopped: watch::Receiver<bool>,
}

/// How one dial ended.
enum Dialled {
    Live(Box<Live>),
    /// The transport did not get through: the other one may.
    Unreachable(String),
    /// Cloudcore answered and sent this agent away: the other transport would hear the same.
    Answered(SessionEnd),
}

impl Runner {
    pub(super) async fn run(mut self) {
        let began = Instant::now();
        let now_ms = || whole_ms(began.elapsed());
        let Some(routes) = self.dialers.routes() else {
            self.set_status(LinkStatus::Disabled);
            return;
        };
        self.networks.load();
        let mut stopped = self.stopped.clone();
        let mut dialler = Dialler::new(routes, self.config.probing, now_ms());
        while !*stopped.borrow() {
            let (transport, timeout_ms) = match dialler.next(now_ms()) {
                Step::Wait { until_ms } => {
                    let pause = Duration::from_millis(until_ms.saturating_sub(now_ms()));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stopping(&mut stopped) => {}
                    }
                    continue;
                }
                Step::Dial {
                    transport,
                    timeout_ms,
                } => (transport, timeout_ms),
            };
            if let Some(worked) = self.networks.moved() {
                dialler.entered_network(worked, now_ms());
                continue;
            }
            let timeout = Duration::from_millis(timeout_ms);
            let dialled = tokio::select! {
                dialled = Box::pin(self.dial(transport, timeout)) => dialled,
                () = stopping(&mut stopped) => break,
            };
            match dialled {
                Dialled::Live(live) => {
                    dialler.welcomed(transport, now_ms());
                    self.networks.carried(transport).await;
                    let end = self.live(*live, transport, &mut dialler, now_ms).await;
                    self.ended(&end, transport);
                    dialler.ended(outcome(&end), now_ms(), random());
                }
                Dialled::Unreachable(reason) => {
                    tracing::debug!(%transport, %reason, "cloudcore was not reached");
                    self.set_error(reason);
                    dialler.failed(transport, now_ms(), random());
                }
                Dialled::Answered(end) => {
                    self.ended(&end, transport);
                    dialler.ended(outcome(&end), now_ms(), random());
                }
            }
        }
    }

    /// Connects and gets as far as a persisted Welcome.
    async fn dial(&mut self, transport: Transport, timeout: Duration) -> Dialled {
        let greeting = match self.outbox.greet().await {
            Ok(greeting) => greeting,
            Err(error) => return Dialled::Answered(SessionEnd::Lost(error.to_string())),
        };
        let establish = async {
            let (wire, channel) = self.dialers.dial(transport).await?;
            let applied = self.applied.borrow_and_update().clone();
            let (session, hello) = Session::begin(&self.config, greeting, &applied, Instant::now());
            let mut live = Live::new(wire, session, &self.hard_examples);
            live.send(&hello).await?;
            let body = live.wire.receive().await?;
            Ok::<_, WireError>((live, channel, body))
        };
        let (mut live, channel, body) = match tokio::time::timeout(timeout, establish).await {
            Ok(Ok(established)) => established,
            Ok(Err(error)) => return Dialled::Unreachable(error.to_string()),
            Err(_elapsed) => {
                return Dialled::Unreachable(format!(
                    "no answer over {transport} within {} s",
                    timeout.as_secs()
                ));
            }
        };
        match live.session.received(body, Instant::now()) {
            Some(Action::Welcomed {
                secret,
                watermarks,
                server_time_ms,
            }) => {
                self.server_time_ms.send_replace(server_time_ms);
                let persisted = self.outbox.welcomed(transport, secret, watermarks).await;
                if let Err(error) = persisted {
                    live.wire.close().await;
                    return Dialled::Answered(SessionEnd::Lost(error.to_string()));
                }
                self.totals.session_began(live.wire.gauge());
                self.channel.send_replace(Some(channel));
                self.state.send_replace(LinkState {
                    status: LinkStatus::Connected { transport },
                    last_error: None,
                });
                tracing::info!(%transport, "connected to cloudcore");
                Dialled::Live(Box::new(live))
            }
            Some(Action::End(end)) => {
                live.wire.close().await;
                Dialled::Answered(end)
            }
            Some(Action::Acknowledge { .. } | Action::Desired(_) | Action::Asked(_)) | None => {
                Dialled::Unreachable("cloudcore answered Hello with another message".to_owned())
            }
        }
    }

    fn ended(&self, end: &SessionEnd, transport: Transport) {
        match end {
            SessionEnd::Lost(reason) | SessionEnd::Silent(reason) => {
                tracing::info!(%transport, %reason, "the session with cloudcore ended");
                self.set_error(reason.clone());
            }
            SessionEnd::ComeBack { after_ms } => {
                tracing::info!(%transport, after_ms, "cloudcore asked to come back later");
                self.set_error("cloudcore asked to come back later".to_owned());
            }
            SessionEnd::Fenced { reason, message } => {
                let reason = fence_name(*reason);
                tracing::error!(%transport, reason, message, "cloudcore refuses this node");
                let error = format!("cloudcore refuses this node ({reason}): {message}");
                let message = message.clone();
                self.set_status(LinkStatus::Fenced { reason, message });
                self.state
                    .send_modify(|state| state.last_error = Some(error));
            }
            SessionEnd::Unsupported(message) => {
                tracing::error!(%transport, message, "cloudcore speaks another protocol version");
                self.set_error(message.clone());
            }
            SessionEnd::Switching | SessionEnd::Stopping => {
                self.set_status(LinkStatus::Connecting);
            }
        }
    }

    fn set_status(&self, status: LinkStatus) {
        self.state.send_modify(|state| state.status = status);
    }

    fn set_error(&self, reason: String) {
        self.state.send_replace(LinkState {
            status: LinkStatus::Connecting,
            last_error: Some(reason),
        });
    }
}

fn outcome(end: &SessionEnd) -> Ended {
    match end {
        SessionEnd::Lost(_) | SessionEnd::Stopping => Ended::Lost,
        SessionEnd::Silent(_) => Ended::Silent,
        SessionEnd::Switching => Ended::Switching,
        SessionEnd::ComeBack { after_ms } => Ended::ComeBack {
            after_ms: *after_ms,
        },
        SessionEnd::Unsupported(_) => Ended::Refused,
        SessionEnd::Fenced { reason, .. } => match reason {
            FenceReason::Superseded => Ended::Superseded,
            FenceReason::Cloned | FenceReason::Revoked | FenceReason::Identity => Ended::Refused,
            // A bug on one side; the next session begins from the watermarks and may well succeed.
            FenceReason::Protocol | FenceReason::Unspecified => Ended::Lost,
        },
    }
}

const fn fence_name(reason: FenceReason) -> &'static str {
    match reason {
        FenceReason::Superseded => "superseded",
        FenceReason::Cloned => "cloned",
        FenceReason::Revoked => "revoked",
        FenceReason::Identity => "identity",
        FenceReason::Protocol => "protocol",
        FenceReason::Unspecified => "unspecified",
    }
}

async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, and then nobody wants the link either.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn random() -> u64 {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 8]>(&random)
        .expect("the kernel's random source does not fail once the system is up");
    u64::from_be_bytes(bytes.expose())
}
