//! Sessions against a real store in a temporary directory.

use std::collections::BTreeMap;

use fleet_api::{NodePhase, Severity, Transport};
use fleet_core::ingest::sequence::Misplaced;
use jiff::Timestamp;
use millwright_proto::ids::{BootId, InstanceId, Lineage, NodeUid};
use millwright_proto::link;
use millwright_summary::{ClockQuality, Window, WindowTime};
use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::store::{NewNodeIdentity, StoredWindow, WindowQuery};

const UID: NodeUid = NodeUid::from_bytes([7; 16]);

struct Cloud {
    store: Store,
    ingest: Ingest,
    directory: TempDir,
}

impl Cloud {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, ingest) = open(&directory).await;
        let mut write = store.write().await.unwrap();
        let now = Timestamp::now();
        let node = NewNodeIdentity::press_1(UID, now);
        write.insert_node_identity(&node, now).await.unwrap();
        write.commit().await.unwrap();
        Self {
            store,
            ingest,
            directory,
        }
    }

    /// The process ends and begins again on the same files.
    async fn restart(&mut self) {
        self.store.close().await;
        (self.store, self.ingest) = open(&self.directory).await;
    }

    async fn welcome(&self, hello: &Hello) -> (SessionKey, BTreeMap<StreamName, u64>) {
        match self.ingest.hello(hello, &Arc::default()).await.unwrap() {
            Admission::Welcome {
                session,
                watermarks,
                ..
            } => (session, watermarks),
            refused => panic!("{refused:?}"),
        }
    }

    async fn commit(
        &self,
        session: &SessionKey,
        reports: &[Report],
    ) -> (BTreeMap<StreamName, u64>, Option<Violation>) {
        match self.ingest.batch(session, reports.to_vec()).await.unwrap() {
            Outcome::Committed {
                acknowledge,
                violation,
            } => (acknowledge, violation),
            refused => panic!("{refused:?}"),
        }
    }

    async fn windows(&self) -> Vec<StoredWindow> {
        let mut windows = Vec::new();
        let query = WindowQuery {
            tenant: "default",
            node: None,
            since: None,
        };
        let store = &self.store;
        store
            .visit_windows(&query, |window| {
                windows.push(window);
                std::ops::ControlFlow::Continue(())
            })
            .await
            .unwrap();
        windows
    }

    async fn reasons(&self) -> Vec<String> {
        let events = self.store.events("default", 0, None, 100).await;
        let events = events.unwrap().into_iter();
        events.map(|event| event.reason).collect()
    }
}

async fn open(directory: &TempDir) -> (Store, Ingest) {
    let store = Store::open(directory.path()).await.unwrap();
    let (ingest, writer) = Ingest::open(store.clone(), Arc::default());
    tokio::spawn(writer);
    (store, ingest)
}

fn hello(secret: &[u8], new_secret: u8) -> Hello {
    Hello {
        uid: UID,
        instance: InstanceId::from_bytes([1; 16]),
        boot: BootId::from_bytes([2; 16]),
        lineage: Lineage::from_bytes([3; 16]),
        secret: secret.to_vec(),
        new_secret: [new_secret; 32],
        transport: Transport::Quic,
        peer: None,
        applied: None,
        agent_version: "0.1.0".to_owned(),
        os: "linux".to_owned(),
        arch: "aarch64".to_owned(),
        onnxruntime: String::new(),
        capabilities: Vec::new(),
    }
}

fn window(first: u64, last: u64) -> Report {
    let window = Window {
        time: WindowTime {
            boot: [2; 16],
            monotonic_start_ms: first * 1000,
            length_ms: 1000,
            coverage_ms: 1000,
            wall_start_ms: 1_700_000_000_000 + first * 1000,
            clock: ClockQuality::Synchronized,
            windows: 1,
            interrupted: 0,
        },
        models: BTreeMap::new(),
        node: BTreeMap::new(),
        link: millwright_summary::LinkStats::default(),
    };
    record(link::Stream::Summaries, first, last, window.encode())
}

fn record(stream: link::Stream, first: u64, last: u64, payload: Vec<u8>) -> Report {
    Report::Record(link::Record {
        stream: stream.into(),
        first,
        last,
        crc32c: crc32c::crc32c(&payload),
        payload: payload.into(),
    })
}

fn gap(from: u64, to: u64) -> Report {
    Report::Gap(link::Gap {
        stream: link::Stream::Summaries.into(),
        from,
        to,
        reason: link::GapReason::Evicted.into(),
    })
}

#[tokio::test]
async fn every_window_counts_once_across_resends_and_restarts() {
    let mut cloud = Cloud::new().await;
    let (session, watermarks) = cloud.welcome(&hello(b"", 1)).await;
    assert_eq!(watermarks[&StreamName::Summaries], 0);
    let reports = [window(1, 1), window(2, 4), gap(5, 6)];
    let (acknowledge, violation) = cloud.commit(&session, &reports).await;
    assert_eq!((acknowledge[&StreamName::Summaries], violation), (6, None));
    cloud.restart().await;
    let (session, watermarks) = cloud.welcome(&hello(&[1; 32], 2)).await;
    assert_eq!(watermarks[&StreamName::Summaries], 6);
    let reports = [window(1, 1), window(2, 4), gap(5, 6), window(7, 7)];
    let (acknowledge, violation) = cloud.commit(&session, &reports).await;
    assert_eq!((acknowledge[&StreamName::Summaries], violation), (7, None));
    let windows = cloud.windows().await;
    let ranges: Vec<_> = windows.iter().map(|w| (w.first, w.last)).collect();
    assert_eq!(ranges, [(1, 1), (2, 4), (7, 7)]);
    let lost = cloud.store.lost_summaries("default").await.unwrap();
    assert_eq!(lost["press-1"], 2);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_batch_and_keeps_what_came_before() {
    let cloud = Cloud::new().await;
    let (session, _) = cloud.welcome(&hello(b"", 1)).await;
    let reports = [window(1, 2), window(2, 3), window(3, 3)];
    let (acknowledge, violation) = cloud.commit(&session, &reports).await;
    assert_eq!(acknowledge[&StreamName::Summaries], 2);
    assert!(matches!(
        violation,
        Some(Violation::Place(Misplaced::Straddle { .. }))
    ));
    let (acknowledge, violation) = cloud.commit(&session, &[window(5, 5)]).await;
    assert!(acknowledge.is_empty());
    assert!(matches!(
        violation,
        Some(Violation::Place(Misplaced::Hole { through: 2, .. }))
    ));
    let mut damaged = link::Record::default();
    if let Report::Record(record) = window(3, 3) {
        damaged = record;
        damaged.crc32c ^= 1;
    }
    let (_, violation) = cloud.commit(&session, &[Report::Record(damaged)]).await;
    assert_eq!(violation, Some(Violation::Checksum { first: 3, last: 3 }));
    assert_eq!(cloud.windows().await.len(), 1);
}

#[tokio::test]
async fn what_does_not_decode_counts_once_and_is_told() {
    let cloud = Cloud::new().await;
    let (session, _) = cloud.welcome(&hello(b"", 1)).await;
    let bad_window = record(link::Stream::Summaries, 1, 1, vec![0xff; 9]);
    let bad_event = record(link::Stream::Events, 1, 1, vec![0xff; 9]);
    let reports = [bad_window.clone(), bad_event, bad_window];
    let (acknowledge, violation) = cloud.commit(&session, &reports).await;
    assert_eq!(violation, None);
    assert_eq!(acknowledge.into_values().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(cloud.windows().await.len(), 1);
    let told = ["UndecodableWindow", "UndecodableEvent"];
    assert_eq!(cloud.reasons().await, told);
}

#[tokio::test]
async fn events_of_a_node_are_cut_and_told_with_its_name() {
    let cloud = Cloud::new().await;
    let (session, _) = cloud.welcome(&hello(b"", 1)).await;
    let event = link::Event {
        wall_time_ms: 1_700_000_000_000,
        reason: "WorkerCrashed".to_owned(),
        severity: link::EventSeverity::Warning.into(),
        message: "ä".repeat(4000),
        model: "m".to_owned(),
        version: "1".to_owned(),
        ..link::Event::default()
    };
    let report = record(link::Stream::Events, 1, 1, event.encode_to_vec());
    cloud.commit(&session, &[report]).await;
    let events = cloud.store.events("default", 0, None, 100).await;
    let event = events.unwrap().remove(0);
    assert_eq!(event.regarding, "Node/press-1");
    assert_eq!(event.severity, Severity::Warning);
    assert!(event.message.starts_with("m@1: ä") && event.message.len() < 1100);
}

#[tokio::test]
async fn only_the_newest_session_of_an_enrolled_node_is_read() {
    let cloud = Cloud::new().await;
    let (old, _) = cloud.welcome(&hello(b"", 1)).await;
    let (new, _) = cloud.welcome(&hello(&[1; 32], 2)).await;
    let outcome = cloud.ingest.batch(&old, vec![window(1, 1)]).await.unwrap();
    assert_eq!(outcome, Outcome::Superseded);
    cloud.ingest.ended(&old).await.unwrap();
    let rows = cloud.store.planning_rows("default").await.unwrap();
    assert!(
        rows.devices[0]
            .session
            .as_ref()
            .unwrap()
            .transport
            .is_some()
    );
    let mut write = cloud.store.write().await.unwrap();
    let revoked = NodePhase::Revoked;
    write
        .set_node_phase("default", "press-1", revoked)
        .await
        .unwrap();
    write.commit().await.unwrap();
    let outcome = cloud.ingest.batch(&new, vec![window(1, 1)]).await.unwrap();
    assert_eq!(outcome, Outcome::Revoked);
    let refused = cloud
        .ingest
        .hello(&hello(&[2; 32], 3), &Arc::default())
        .await
        .unwrap();
    assert_eq!(refused, Admission::Revoked);
    assert!(cloud.windows().await.is_empty());
}

#[tokio::test]
async fn a_clone_and_a_stranger_are_kept_out() {
    let cloud = Cloud::new().await;
    cloud.welcome(&hello(b"", 1)).await;
    cloud.welcome(&hello(&[1; 32], 2)).await;
    cloud.welcome(&hello(&[2; 32], 3)).await;
    let refused = cloud
        .ingest
        .hello(&hello(&[1; 32], 4), &Arc::default())
        .await
        .unwrap();
    assert_eq!(refused, Admission::Cloned);
    assert_eq!(cloud.reasons().await, ["CloneSuspected"]);
    let mut stranger = hello(b"", 5);
    stranger.uid = NodeUid::from_bytes([9; 16]);
    let refused = cloud
        .ingest
        .hello(&stranger, &Arc::default())
        .await
        .unwrap();
    assert_eq!(refused, Admission::Unknown);
}

#[tokio::test]
async fn sessions_that_ask_together_share_a_commit_and_each_gets_its_own_answer() {
    let cloud = Cloud::new().await;
    let (session, _) = cloud.welcome(&hello(b"", 1)).await;
    let mut stranger = hello(b"", 5);
    stranger.uid = NodeUid::from_bytes([9; 16]);
    let held = cloud.store.write().await.unwrap();
    let together = async {
        let given_up = Arc::default();
        tokio::join!(
            cloud.ingest.batch(&session, vec![window(1, 1)]),
            cloud.ingest.batch(&session, vec![window(3, 3)]),
            cloud.ingest.hello(&stranger, &given_up),
            async { drop(held) },
        )
    };
    let (first, hole, refused, ()) = together.await;
    let committed = |through, violation| Outcome::Committed {
        acknowledge: BTreeMap::from_iter(through),
        violation,
    };
    assert_eq!(
        first.unwrap(),
        committed(Some((StreamName::Summaries, 1)), None)
    );
    let violation = Violation::Place(Misplaced::Hole {
        first: 3,
        last: 3,
        through: 1,
    });
    assert_eq!(hole.unwrap(), committed(None, Some(violation)));
    assert_eq!(refused.unwrap(), Admission::Unknown);
    assert_eq!(cloud.windows().await.len(), 1);
}

#[tokio::test]
async fn a_hello_whose_node_gave_up_while_it_waited_begins_no_session() {
    let cloud = Cloud::new().await;
    let (live, _) = cloud.welcome(&hello(b"", 1)).await;
    let given_up = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let late = cloud.ingest.hello(&hello(&[1; 32], 2), &given_up).await;
    assert!(late.is_err(), "it began: {late:?}");
    let (acknowledged, _) = cloud.commit(&live, &[window(1, 1)]).await;
    assert_eq!(acknowledged.len(), 1, "the live session was cut");
}

#[tokio::test]
async fn a_restart_leaves_nodes_connected_until_their_time_to_return_is_over() {
    let mut cloud = Cloud::new().await;
    let (session, _) = cloud.welcome(&hello(b"", 1)).await;
    cloud.restart().await;
    let left = cloud.store.live_sessions().await.unwrap();
    assert_eq!(left, [(UID, session.term)]);
    // It came back: ending what was left behind changes nothing.
    let (newer, _) = cloud.welcome(&hello(&[1; 32], 2)).await;
    cloud.ingest.ended(&session).await.unwrap();
    let live = cloud.store.live_sessions().await.unwrap();
    assert_eq!(live, [(UID, newer.term)]);
    cloud.ingest.ended(&newer).await.unwrap();
    assert!(cloud.store.live_sessions().await.unwrap().is_empty());
}
