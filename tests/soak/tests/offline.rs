//! The short form; `millwright-soak --days 30` and `--days 365` are the full ones.

use millwright_soak::offline::Offline;

/// Six days are more than the smallest outbox holds as they were recorded.
#[tokio::test]
async fn days_offline_become_coarser_and_every_count_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let run = Offline {
        minutes: 6 * 1440,
        quota_bytes: 8 * 1024 * 1024,
        group: 30,
        seed: 4,
    };
    let outcome = run.run(directory.path()).await.unwrap();
    assert!(outcome.stats.merged_windows > 0, "{:?}", outcome.stats);
    assert_eq!(outcome.sink.lost, 0);
}
