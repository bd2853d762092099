//! The loop: wait until a renewal is due, try it, tell how it went.

use std::sync::Arc;
use std::time::Duration;

use edge_core::renewal::Schedule;
use millwright_identity::Validity;
use tokio::sync::watch;

use super::{CertificateFacts, Parts, request};
use crate::clock::FleetClock;
use crate::identity::Kept;
use crate::journal::Severity;
use crate::link::LinkStatus;

pub(super) struct Task {
    parts: Parts,
    clock: Arc<FleetClock>,
    schedule: Schedule,
    /// Since when there has been no session, on the running clock; `None` while one lives.
    unconnected_since_ms: Option<u64>,
    facts: watch::Sender<CertificateFacts>,
}

impl Task {
    pub(super) fn new(parts: Parts) -> (Self, watch::Receiver<CertificateFacts>) {
        let clock = parts.identity.clock();
        let validity = parts.identity.validity;
        let schedule = Schedule::new(validity.not_before, validity.not_after, random());
        let (facts, receiver) = watch::channel(CertificateFacts {
            not_before: validity.not_before,
            not_after: validity.not_after,
            next_renewal: schedule.renew_at_s(),
            judged_at: clock.now_s(),
            renewed_at: None,
            last_error: None,
        });
        let task = Self {
            unconnected_since_ms: Some(clock.reading().boot_ms),
            parts,
            clock,
            schedule,
            facts,
        };
        (task, receiver)
    }

    /// Runs until it is dropped, or the link is gone.
    pub(super) async fn run(mut self) {
        loop {
            self.look_at_link();
            let now_s = self.clock.now_s();
            self.facts.send_modify(|facts| facts.judged_at = now_s);
            let since_ms = self.clock.reading().boot_ms;
            let wait_ms = self.schedule.wait_ms(
                now_s,
                since_ms,
                self.unconnected_since_ms,
                self.clock.doubtful_s(),
            );
            if wait_ms == 0 {
                self.attempt().await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                changed = self.parts.link.changed() => if changed.is_err() { return },
                changed = self.parts.server_time_ms.changed() => {
                    if changed.is_err() { return }
                    let told_ms = *self.parts.server_time_ms.borrow_and_update();
                    self.clock.told(told_ms);
                    self.keep_floor().await;
                }
            }
        }
    }

    fn look_at_link(&mut self) {
        let status = self.parts.link.borrow_and_update().status.clone();
        match status {
            LinkStatus::Connected { .. } => {
                self.schedule.connected();
                self.unconnected_since_ms = None;
            }
            LinkStatus::Disabled | LinkStatus::Connecting | LinkStatus::Fenced { .. } => {
                let now_ms = self.clock.reading().boot_ms;
                self.unconnected_since_ms.get_or_insert(now_ms);
            }
        }
    }

    async fn attempt(&mut self) {
        let before_ends_s = self.facts.borrow().not_after;
        let Parts {
            identity,
            connector,
            cloud,
            ..
        } = &self.parts;
        let renewed = request::renew(identity, connector, cloud).await;
        let since_ms = self.clock.reading().boot_ms;
        match renewed {
            Ok((validity, kept)) => {
                self.schedule = self.schedule.renewed(
                    validity.not_before,
                    validity.not_after,
                    since_ms,
                    random(),
                );
                // Cloudcore has told the time by now.
                let was_over = self.clock.now_s() > before_ends_s;
                self.tell_renewed(validity, was_over);
                if let Kept::InMemory(error) = kept {
                    self.tell_failed(&error);
                }
            }
            Err(error) => {
                let now_s = self.clock.now_s();
                self.schedule
                    .failed(error.kind(), now_s, since_ms, random());
                self.tell_failed(&error);
            }
        }
        self.keep_floor().await;
    }

    fn tell_renewed(&self, validity: Validity, was_over: bool) {
        let message = match was_over {
            true => "the certificate had run out and was renewed by the identity key",
            false => "the certificate was renewed",
        };
        // A log line and no event: cloudcore has one in the transaction that issued.
        tracing::info!(not_after = validity.not_after, "{message}");
        let now_s = self.clock.now_s();
        self.facts.send_replace(CertificateFacts {
            not_before: validity.not_before,
            not_after: validity.not_after,
            next_renewal: self.schedule.renew_at_s(),
            judged_at: now_s,
            renewed_at: Some(now_s),
            last_error: None,
        });
    }

    /// Told once per kind of failure: a plant that is cut off for weeks must not fill its own backlog with this.
    fn tell_failed(&self, error: &dyn std::error::Error) {
        let reason = chain_of(error);
        let told = self.facts.borrow().last_error.as_ref() == Some(&reason);
        if told {
            tracing::debug!(reason, "the renewal of the certificate failed");
        } else {
            let message = format!("the renewal of the certificate failed: {reason}");
            let journal = &self.parts.journal;
            journal.record(
                Severity::Warning,
                "CertificateRenewalFailed",
                None,
                &message,
            );
        }
        self.facts
            .send_modify(|facts| facts.last_error = Some(reason));
    }

    async fn keep_floor(&self) {
        let clock = Arc::clone(&self.clock);
        // An error means that the runtime ends.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || clock.persist()).await {
            tracing::warn!("the time floor is not kept: {error}");
        }
    }
}

/// An error with what caused it.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn random() -> u64 {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 8]>(&random)
        .expect("the kernel's random source does not fail once the system is up");
    u64::from_be_bytes(bytes.expose())
}
