use super::*;

const FUSION: &str = "
apiVersion: millwright/v1
kind: Pipeline
metadata: {name: p}
spec:
  source:
    mqtt:
      broker: mqtt://127.0.0.1
      topics:
        - {topic: a, payload: {json: {fields: {a: v}, time: t}}}
        - {topic: b, payload: {csv: {columns: [t, b], time: t}}}
      join: {toleranceMs: 5, waitMs: 100}
  preprocess: {sensors: {window: {size: 2, step: 1}}}
  model: m
";

#[tokio::test(start_paused = true)]
async fn values_of_two_topics_become_windows_of_rows() {
    let pipeline = Pipeline::parse(FUSION, "p.yaml").unwrap();
    let queue = Queue::new(pipeline.policy(), 8, Duration::ZERO);
    let gauge = Gauge::new("p", "m");
    let mut intake = Intake::new(&pipeline, queue.clone(), gauge.clone());
    let readers = Intake::readers(&pipeline);
    for row in 0..3 {
        let t = 1000 + row * 10;
        let json = format!("{{\"v\": {row}, \"t\": {t}}}");
        let csv = format!("{},{}", t + 4, 10 * row);
        intake
            .take(&readers[0], json.into(), Echo::default(), None)
            .await;
        intake
            .take(&readers[1], csv.into(), Echo::default(), None)
            .await;
    }
    for expected in [[0.0, 0.0, 1.0, 10.0], [1.0, 10.0, 2.0, 20.0]] {
        let item = queue.take().await;
        let Content::Rows(values) = item.content else {
            panic!("{:?}", item.content);
        };
        assert_eq!(values, expected);
    }
    // A value without its partner is waited for, then dropped.
    let alone = Bytes::from_static(b"{\"v\": 9, \"t\": 5000}");
    intake.take(&readers[0], alone, Echo::default(), None).await;
    let due = intake.due().unwrap();
    tokio::time::sleep_until(due).await;
    intake.tick().await;
    assert_eq!(intake.due(), None);
    let facts = gauge.facts();
    assert_eq!((facts.received, facts.dropped), (7, 1));
}
