use super::*;

const FUSION: &str = "
apiVersion: millwright/v1
kind: Pipeline
metadata: {name: press-3}
spec:
  source:
    mqtt:
      broker: mqtt://127.0.0.1:1883
      topics:
        - topic: press3/a
          payload: {json: {fields: {zeta: data.z, alpha: data.a.0}, time: ts}}
        - topic: press3/+/b
          payload: {csv: {columns: [t, '-', speed], time: t, timeUnit: s, separator: ';'}}
      join: {toleranceMs: 20, holdLastMs: 500}
  preprocess:
    sensors:
      scale: {standard: {mean: [1, 2, 3], std: [1, 1, 2]}}
      window: {size: 64, step: 16}
  model: shuttle-anomaly
  decode: {anomaly: {output: scores, threshold: 0, direction: below}}
  sinks:
    - mqtt: {topic: press3/anomaly, when: anomaly}
    - webhook: {url: 'http://10.0.0.2/alarm', retries: 2}
    - hardExamples: {confidenceBelow: 0.6, quotaMib: 64}
";

const CAMERA: &str = "
apiVersion: millwright/v1
kind: Pipeline
metadata: {name: gate}
spec:
  source: {camera: {url: 'http://10.0.0.7/mjpg/video.mjpg', username: viewer, passwordFile: /etc/millwright/camera}}
  preprocess: {image: {size: [640, 480]}}
  model: face-detector
  decode: {centerface: {score: 0.6}}
  sinks: [{mqtt: {broker: 'mqtts://broker', topic: gate/faces, pictureTopic: gate/picture}}]
  mask: [{x: 0.5, y: 0, width: 0.5, height: 1}]
";

fn parse(text: &str) -> Result<Pipeline, PipelineError> {
    Pipeline::parse(text, "p.yaml")
}

/// `text` with one part replaced must be refused, naming all of `words`.
#[track_caller]
fn check_refused(text: &str, from: &str, to: &str, words: &[&str]) {
    assert!(text.contains(from), "{from}");
    let error = parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
    for word in words.iter().chain(&["p.yaml"]) {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn fields_keep_the_order_in_which_they_are_written() {
    let pipeline = parse(FUSION).unwrap();
    assert_eq!(
        pipeline.spec.source.row_fields(),
        ["zeta", "alpha", "speed"]
    );
    assert_eq!(pipeline.policy(), Policy::Block);
}

#[test]
fn a_camera_drops_the_oldest_unless_told_otherwise() {
    let pipeline = parse(CAMERA).unwrap();
    assert_eq!(pipeline.policy(), Policy::DropOldest);
    assert_eq!(pipeline.spec.back_pressure.queue, 8);
    let blocking = CAMERA.replace("  mask:", "  backPressure: {policy: block}\n  mask:");
    assert_eq!(parse(&blocking).unwrap().policy(), Policy::Block);
}

#[test]
fn a_pipeline_reads_back_from_its_own_json() {
    for text in [FUSION, CAMERA] {
        let pipeline = parse(text).unwrap();
        let json = serde_json::to_string(&pipeline).unwrap();
        let back: Pipeline = millwright_document::json(&json, "json").unwrap();
        assert_eq!(back, pipeline, "{json}");
    }
}

#[test]
fn unknown_words_are_refused_with_the_nearest_known_one() {
    check_refused(FUSION, "toleranceMs", "tolerance", &["toleranceMs", "join"]);
    check_refused(FUSION, "holdLastMs", "holdLast", &["holdLastMs"]);
    check_refused(CAMERA, "passwordFile", "password", &["passwordFile"]);
    check_refused(CAMERA, "camera:", "kamera:", &["`kamera`", "camera"]);
    check_refused(CAMERA, "kind: Pipeline", "kind: Pipe", &["Pipeline"]);
    check_refused(CAMERA, "score: 0.6", "scores: 0.6", &["score"]);
    check_refused(FUSION, "- webhook", "- webhok", &["webhook"]);
}

#[test]
fn values_of_topics_that_cannot_be_meant_are_refused_with_what_to_write() {
    for (from, to, words) in [
        (
            "      join: {toleranceMs: 20, holdLastMs: 500}\n",
            "",
            ["spec.source.mqtt.join", "toleranceMs: 50"],
        ),
        (", time: ts}", "}", ["order: arrival", "time:"]),
        (
            "press3/+/b",
            "press3/x+/b",
            ["topics[1].topic", "whole level"],
        ),
        ("mqtt://127", "tcp://127", ["broker", "mqtt://HOST"]),
        (
            "mqtt://127",
            "mqtt://u:s3cret@127",
            ["username", "passwordFile"],
        ),
        (
            "mean: [1, 2, 3]",
            "mean: [1, 2]",
            ["scale.standard.mean", "one per field is 3"],
        ),
        (
            "std: [1, 1, 2]",
            "std: [1, 0, 2]",
            ["scale.standard.std", "above 0"],
        ),
        ("size: 64", "size: 0", ["window.size", "1 to 65536"]),
        (
            "scale:",
            "fields: [zeta, beta]\n      scale:",
            ["`beta`", "zeta, alpha, speed"],
        ),
        ("data.a.0", "data..0", ["json.fields.alpha", "data.temp"]),
        (
            "press3/anomaly",
            "press3/#",
            ["sinks[0].mqtt.topic", "without + and #"],
        ),
        (
            "http://10.0.0.2",
            "ftp://10.0.0.2",
            ["sinks[1].webhook.url", "http://HOST"],
        ),
        (
            "quotaMib: 64",
            "quotaMib: 0",
            ["sinks[2].hardExamples.quotaMib", "1 to 65536"],
        ),
        (
            "confidenceBelow: 0.6",
            "drift: false",
            ["sinks[2].hardExamples", "keeps nothing"],
        ),
    ] {
        check_refused(FUSION, from, to, &words);
    }
}

#[test]
fn a_shadow_that_nothing_can_be_compared_with_is_refused() {
    let base = "apiVersion: millwright/v1\nkind: Pipeline\nmetadata: {name: line}\n\
                spec: {source: {push: {}}, model: a, decode: raw, shadow: {model: b}, \
                sinks: [{hardExamples: {drift: false}}]}\n";
    let fine = parse(base).unwrap();
    assert_eq!(fine.spec.shadow.as_ref().unwrap().every_ms, 1000);
    let told = fine.sentences().join(" ");
    assert!(told.contains("`b` sees some of the inputs too"), "{told}");
    assert!(
        told.contains("Inputs on which a shadow disagrees are kept"),
        "{told}"
    );
    for (from, to, words) in [
        ("model: b", "model: a", ["spec.shadow.model", "another one"]),
        (
            ", shadow: {model: b}",
            "",
            ["hardExamples", "give the pipeline a `shadow`"],
        ),
        ("decode: raw, ", "", ["spec.decode", "`decode: raw`"]),
        (
            "{model: b}",
            "{model: b, everyMs: 3600001}",
            ["spec.shadow.everyMs", "0 to 3600000"],
        ),
    ] {
        check_refused(base, from, to, &words);
    }
}

#[test]
fn a_camera_that_cannot_be_meant_is_refused_with_what_to_write() {
    for (from, to, words) in [
        (
            "http://10.0.0.7/",
            "rtsp://10.0.0.7/",
            ["MJPEG", "snapshotEveryMs"],
        ),
        (
            "http://10.0.0.7/",
            "http://me:s3cret@10.0.0.7/",
            ["camera.url", "passwordFile"],
        ),
        (
            "broker: 'mqtts://broker', ",
            "",
            ["sinks[0].mqtt.broker", "mqtt://127.0.0.1:1883"],
        ),
        ("width: 0.5", "width: 1.6", ["spec.mask[0]", "shares"]),
        ("score: 0.6", "score: 6", ["spec.decode", "0 to 1"]),
        (
            "size: [640, 480]",
            "size: [640, 480], mean: [1, 2]",
            ["spec.preprocess.image", "mean"],
        ),
        (
            "  mask:",
            "  backPressure: {policy: sample}\n  mask:",
            ["everyMs", "500"],
        ),
        (
            "  mask:",
            "  backPressure: {everyMs: 5}\n  mask:",
            ["everyMs", "sample"],
        ),
        (
            "  mask:",
            "  backPressure: {queue: 0}\n  mask:",
            ["queue", "1 to 4096"],
        ),
    ] {
        check_refused(CAMERA, from, to, &words);
    }
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let error = parse(&CAMERA.replace("http://10.0.0.7/", "ftp://me:s3cret@10.0.0.7/"));
    let error = error.unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn several_pipelines_stand_in_one_file() {
    let both = format!("{FUSION}\n---\n{CAMERA}");
    let names: Vec<String> = Pipeline::parse_all(&both, "p.yaml")
        .unwrap()
        .iter()
        .map(|pipeline| pipeline.name().to_string())
        .collect();
    assert_eq!(names, ["press-3", "gate"]);
}

#[test]
fn it_says_what_it_will_do() {
    let told = parse(FUSION).unwrap().sentences().join("\n");
    for words in [
        "`press3/+/b` at mqtt://127.0.0.1:1883 are lines of values",
        "at most 20 ms apart",
        "at most 500 ms old",
        "windows of 64 rows, a new one every 16: zeta, alpha, speed, scaled",
        "(`scores`) is below 0",
        "Every anomaly goes to `press3/anomaly` at the same broker",
        "confidence below 0.6",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
}

#[test]
fn every_example_of_the_guide_is_a_pipeline_and_every_source_has_one() {
    let guide = include_str!("../../../docs/pipelines.md");
    let examples: Vec<Pipeline> = guide
        .split("```yaml\n")
        .skip(1)
        .map(|rest| {
            parse(rest.split("```").next().unwrap()).unwrap_or_else(|e| panic!("{e}:\n{rest}"))
        })
        .collect();
    let kind = |pipeline: &Pipeline| std::mem::discriminant(&pipeline.spec.source);
    for (at, pipeline) in examples.iter().enumerate() {
        let earlier = examples[..at]
            .iter()
            .any(|other| other.name() == pipeline.name());
        assert!(!earlier, "{} is there twice", pipeline.name());
    }
    let mut kinds: Vec<_> = Vec::new();
    for pipeline in &examples {
        if !kinds.contains(&kind(pipeline)) {
            kinds.push(kind(pipeline));
        }
    }
    assert_eq!(kinds.len(), 5, "an example per source");
}
