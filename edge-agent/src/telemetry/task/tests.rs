//! Windows are cut at their length, at shutdown, and offered again when the sink refused them.

use std::sync::Mutex;

use millwright_proto::ids::BootId;
use tokio::sync::oneshot;

use super::*;
use crate::telemetry::{Outcome, Phases};

/// Refuses as many windows as it is told to, then keeps them.
#[derive(Clone, Default)]
struct Sink {
    kept: Arc<Mutex<Vec<Window>>>,
    refusals: Arc<Mutex<usize>>,
    wear: Option<SinkWear>,
}

impl WindowSink for Sink {
    type Error = &'static str;

    async fn append(&mut self, window: &Window) -> Result<Committed, Self::Error> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err("disk full");
        }
        let mut kept = self.kept.lock().unwrap();
        kept.push(window.clone());
        Ok(Committed {
            lineage: Lineage::from_bytes([1; 16]),
            sequence: kept.len() as u64,
        })
    }

    fn wear(&self) -> Option<SinkWear> {
        self.wear
    }
}

/// Runs the task over `elapsed` of paused time with one request at the beginning; returns what was stored.
async fn windows_after(elapsed: Duration, sink: Sink) -> Vec<Window> {
    let clock = Clock::start(0);
    let recorder = Recorder::new(BootId::from_bytes([2; 16]), clock.now());
    let (_length, window) = watch::channel(Duration::from_secs(60));
    let telemetry = Telemetry {
        recorder: recorder.clone(),
        models: ActiveModels::new(recorder.clone()),
        link: Box::new(LinkStats::default),
        journal: Journal::logging(BootId::from_bytes([2; 16]), clock.clone()),
        clock,
        window,
        data_dir: PathBuf::from("/"),
        sink: sink.clone(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(telemetry.run(async {
        let _ = stopped.await;
    }));
    let latency = Duration::from_millis(3);
    let outcome = Outcome::Answered {
        latency,
        phases: Phases::default(),
        confidence: None,
        class: None,
    };
    recorder.request(&"detector@1.0.0".parse().unwrap(), outcome);
    tokio::time::sleep(elapsed).await;
    drop(stop);
    task.await.unwrap();
    std::mem::take(&mut sink.kept.lock().unwrap())
}

fn requests(window: &Window) -> u64 {
    window.models.values().map(|stats| stats.requests).sum()
}

#[tokio::test(start_paused = true)]
async fn a_window_is_cut_at_its_length_and_the_open_one_at_shutdown() {
    let windows = windows_after(Duration::from_secs(75), Sink::default()).await;
    let times: Vec<_> = windows
        .iter()
        .map(|window| {
            let time = window.time;
            (
                time.length_ms / 100,
                time.coverage_ms / 100,
                time.interrupted,
                requests(window),
            )
        })
        .collect();
    assert_eq!(times, [(600, 600, 0, 1), (600, 150, 1, 0)]);
    assert!(windows[0].node["memory_used_bytes"].count() >= 11);
}

#[tokio::test(start_paused = true)]
async fn a_refused_window_is_stored_with_the_next_one_in_order() {
    let sink = Sink::default();
    *sink.refusals.lock().unwrap() = 2;
    let windows = windows_after(Duration::from_secs(190), sink).await;
    let counts: Vec<_> = windows.iter().map(requests).collect();
    assert_eq!(counts, [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn windows_that_were_refused_for_too_long_are_merged_and_no_count_is_lost() {
    let sink = Sink::default();
    *sink.refusals.lock().unwrap() = WINDOWS_WAITING_MAX + 3;
    let minutes = WINDOWS_WAITING_MAX as u64 + 4;
    let windows = windows_after(Duration::from_secs(60 * minutes + 5), sink).await;
    let whole: u64 = windows.iter().map(|window| window.time.windows).sum();
    assert_eq!(whole, minutes + 1);
    assert_eq!((windows[0].time.windows, requests(&windows[0])), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn over_the_wear_budget_windows_are_longer_and_say_what_was_written() {
    let sink = Sink {
        wear: Some(SinkWear {
            written_bytes: 5_000,
            stretch: 10,
        }),
        ..Sink::default()
    };
    let windows = windows_after(Duration::from_secs(605), sink).await;
    assert_eq!(windows[0].time.length_ms / 1000, 600);
    let written = windows[0].node["outbox_written_bytes"].max();
    assert_eq!(written, Some(5_000.0));
}
