//! Renewals against a small cloud in this process, over TLS, on devices with every kind of wrong clock.

mod cloud;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edge_core::outbox::Stream;
use millwright_proto::ids::BootId;
use tokio::sync::watch;

use super::*;
use crate::clock::Reading;
use crate::data_dir::Layout;
use crate::identity::Kept;
use crate::link::LinkStatus;
use crate::telemetry::clock::Clock;
use cloud::{Answers, Cloud, ENROLLED_S, LIFE_S, MONTH_S};

const DEADLINE: Duration = Duration::from_secs(60);

/// A device enrolled at [`ENROLLED_S`], with a wall clock the test sets.
struct Device {
    identity: Arc<StoredIdentity>,
    wall_s: Arc<AtomicU64>,
    layout: Layout,
    _directory: tempfile::TempDir,
}

impl Device {
    fn enrolled(cloud: &Cloud, wall_s: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path());
        cloud.identity().store(&layout).unwrap();
        let wall_s = Arc::new(AtomicU64::new(wall_s));
        Self {
            identity: Arc::new(load(&layout, &wall_s)),
            wall_s,
            layout,
            _directory: directory,
        }
    }

    async fn renew(&self, cloud: &Cloud) -> Result<u64, RenewError> {
        let (validity, kept) =
            request::renew(&self.identity, &Connector::direct(), &cloud.address()).await?;
        assert!(matches!(kept, Kept::OnDisk), "{kept:?}");
        Ok(validity.not_after)
    }
}

fn load(layout: &Layout, wall_s: &Arc<AtomicU64>) -> StoredIdentity {
    let wall_s = Arc::clone(wall_s);
    let read = move || Reading {
        wall_s: wall_s.load(Ordering::Relaxed),
        boot_ms: 1_000,
    };
    StoredIdentity::load_with(layout, read).unwrap()
}

#[tokio::test]
async fn a_certificate_is_renewed_whatever_the_clock_of_the_device_says() {
    for months in [1, 3, 12, 36] {
        let cloud_s = ENROLLED_S + months * MONTH_S;
        let years_ahead = cloud_s + 20 * 12 * MONTH_S;
        for wall_s in [0, ENROLLED_S, cloud_s, cloud_s + MONTH_S, years_ahead] {
            let cloud = Cloud::start(cloud_s).await;
            let device = Device::enrolled(&cloud, wall_s);
            let end = device.renew(&cloud).await.unwrap();
            assert_eq!(end, cloud_s + LIFE_S, "{months} months, wall {wall_s}");
            // It knows the time now, and goes on knowing it.
            assert_eq!(device.identity.clock().now_s(), cloud_s);
            device.wall_s.store(years_ahead, Ordering::Relaxed);
            assert_eq!(device.identity.clock().now_s(), cloud_s);
            let again = load(&device.layout, &Arc::default());
            assert_eq!(again.validity.not_after, end);
        }
    }
}

#[tokio::test]
async fn another_cloud_learns_nothing_and_changes_nothing() {
    let (own, other) = (
        Cloud::start(ENROLLED_S).await,
        Cloud::start(ENROLLED_S).await,
    );
    let device = Device::enrolled(&own, ENROLLED_S);
    let refused = device.renew(&other).await.unwrap_err();
    assert!(
        matches!(refused, RenewError::Request(RequestError::NotOurs { .. })),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), Failure::Unreachable);
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused_and_the_certificate_stays() {
    for answers in [
        Answers::OnlyChallenges,
        Answers::ForAnotherDevice,
        Answers::ForAnotherKey,
        Answers::Nothing,
    ] {
        let cloud = Cloud::start(ENROLLED_S + MONTH_S).await;
        let device = Device::enrolled(&cloud, ENROLLED_S);
        cloud.answer(answers);
        let refused = device.renew(&cloud).await.unwrap_err();
        assert_eq!(refused.kind(), Failure::Unreachable, "{refused:?}");
        let kept = load(&device.layout, &Arc::default());
        assert_eq!(kept.validity, device.identity.validity, "{answers:?}");
        cloud.answer(Answers::Well);
        device.renew(&cloud).await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_does_not_keep_a_renewed_certificate_out_of_use() {
    let cloud = Cloud::start(ENROLLED_S + MONTH_S).await;
    let device = Device::enrolled(&cloud, ENROLLED_S);
    // A directory in the way of the new file: no user can write there, root included.
    let unfinished = device.layout.identity().join("tls.pem.new");
    std::fs::create_dir(&unfinished).unwrap();
    let before = device.identity.tls();
    let before = before.client_auth_cert_resolver.resolve(&[], &[]).unwrap();
    let renewed = request::renew(&device.identity, &Connector::direct(), &cloud.address()).await;
    assert!(matches!(renewed, Ok((_, Kept::InMemory(_)))), "{renewed:?}");
    let now = device.identity.tls();
    let now = now.client_auth_cert_resolver.resolve(&[], &[]).unwrap();
    assert_ne!(now.cert, before.cert);
    let kept = load(&device.layout, &Arc::default());
    assert_eq!(kept.validity, device.identity.validity);
}

#[tokio::test]
async fn a_revoked_node_is_told_so_and_asks_rarely() {
    let cloud = Cloud::start(ENROLLED_S).await;
    let device = Device::enrolled(&cloud, ENROLLED_S);
    cloud.answer(Answers::Revoked);
    let refused = device.renew(&cloud).await.unwrap_err();
    assert_eq!(refused.kind(), Failure::Refused);
    assert!(refused.to_string().contains("was revoked"), "{refused}");
}

#[tokio::test]
async fn the_task_renews_what_is_over_and_says_so_and_keeps_the_floor() {
    let cloud_s = ENROLLED_S + 3 * MONTH_S;
    let cloud = Cloud::start(cloud_s).await;
    let device = Device::enrolled(&cloud, cloud_s);
    let (_status, link) = watch::channel(LinkState {
        status: LinkStatus::Connecting,
        last_error: None,
    });
    let (_time, server_time_ms) = watch::channel(0);
    let clock = Clock::start(0);
    let renewal = Renewal::spawn(Parts {
        identity: Arc::clone(&device.identity),
        cloud: cloud.address(),
        connector: Connector::direct(),
        link,
        server_time_ms,
        journal: Journal::logging(BootId::from_bytes([0; 16]), clock),
    });
    let mut facts = renewal.facts();
    assert!(facts.borrow().is_over());
    let renewed = facts.wait_for(|facts| facts.renewed_at.is_some());
    let renewed = tokio::time::timeout(DEADLINE, renewed).await.unwrap();
    let renewed = renewed.unwrap().clone();
    assert_eq!(renewed.not_after, cloud_s + LIFE_S);
    assert!(!renewed.is_over());
    assert!((cloud_s..renewed.not_after).contains(&renewed.next_renewal));
    let floor = device.layout.identity().join("time-floor");
    let written = async {
        while !floor.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, written).await.unwrap();
    renewal.end().await;
    let asked = cloud.asked();
    assert_eq!(asked, 2, "one challenge, one certificate");
}

#[tokio::test]
async fn what_a_welcome_says_moves_the_clock() {
    let cloud = Cloud::start(ENROLLED_S).await;
    let device = Device::enrolled(&cloud, 0);
    let (status, link) = watch::channel(LinkState {
        status: LinkStatus::Connecting,
        last_error: None,
    });
    let (time, server_time_ms) = watch::channel(0);
    let renewal = Renewal::spawn(Parts {
        identity: Arc::clone(&device.identity),
        cloud: cloud.address(),
        connector: Connector::direct(),
        link,
        server_time_ms,
        journal: Journal::logging(BootId::from_bytes([0; 16]), Clock::start(0)),
    });
    let transport = edge_core::link::Transport::Quic;
    status.send_modify(|state| state.status = LinkStatus::Connected { transport });
    let told_s = ENROLLED_S + 100;
    time.send_replace(told_s * 1000);
    let mut facts = renewal.facts();
    let moved = facts.wait_for(|facts| facts.judged_at == told_s);
    tokio::time::timeout(DEADLINE, moved)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(device.identity.clock().floor_s(), told_s);
    assert_eq!(cloud.asked(), 0, "nothing is due");
    renewal.end().await;
}

#[tokio::test]
async fn records_keep_their_order_whatever_the_clock_does() {
    let directory = tempfile::tempdir().unwrap();
    let limits = crate::store::OutboxLimits {
        free_bytes_min: 0,
        ..crate::store::OutboxLimits::default()
    };
    let opened = crate::store::Outbox::open(directory.path().join("outbox"), limits).await;
    let (outbox, _) = opened.unwrap();
    // What a record says of its time decides nothing: 2050, 1970, 2026.
    let times = [2_524_608_000_u64, 0, 1_790_000_000];
    for time in times {
        let payload = bytes::Bytes::copy_from_slice(&time.to_be_bytes());
        outbox.append(Stream::Summaries, payload).await.unwrap();
    }
    outbox.greet().await.unwrap();
    let room = edge_core::outbox::Room {
        records: 10,
        bytes: 10_000,
    };
    let quic = edge_core::link::Transport::Quic;
    let none = vec![(Stream::Summaries, 0), (Stream::Events, 0)];
    outbox.welcomed(quic, vec![1], none).await.unwrap();
    let offered = outbox.offer(room).await.unwrap();
    let order: Vec<u64> = offered.iter().map(|outgoing| outgoing.first).collect();
    assert_eq!(order, [1, 2, 3]);
    outbox.close().await;
}
