use super::*;

const GOOD: &str = "\
apiVersion: millwright/v1
kind: Site
metadata: {name: leipzig, labels: {country: de}}
spec: {displayName: Plant Leipzig}
---
apiVersion: millwright/v1
kind: ModelDeployment
metadata: {name: faces}
spec:
  model: face-detector
  version: 1.0.0
  selector: {matchLabels: {line: press}}
  strategy: {waves: [{name: canary, percent: 10}]}
";

fn check(text: &str) -> Result<Vec<Document>, ApplyError> {
    parse(text, "fleet.yaml", &mut BTreeSet::new())
}

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    check(&GOOD.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn several_documents_are_read_in_order() {
    let documents = check(GOOD).unwrap();
    let identities: Vec<_> = documents.iter().map(Document::identity).collect();
    assert_eq!(
        identities,
        [("Site", "leipzig"), ("ModelDeployment", "faces")]
    );
    let json = r#"{"apiVersion":"millwright/v1","kind":"Model","metadata":{"name":"m"},"spec":{}}"#;
    assert_eq!(check(json).unwrap()[0].identity(), ("Model", "m"));
}

#[test]
fn an_unknown_key_is_refused_with_line_and_nearest_known_key() {
    let error = refused("  model: face", "  modle: face");
    assert!(
        error.contains("unknown key `modle` in spec (fleet.yaml line 10)"),
        "{error}"
    );
    assert!(error.contains("did you mean `model`"), "{error}");
    let error = refused("matchLabels", "matchLables");
    assert!(error.contains("did you mean `matchLabels`"), "{error}");
}

#[test]
fn documents_that_cannot_be_meant_are_refused() {
    for (from, to, expected) in [
        ("kind: Site", "kind: Sitee", "did you mean `Site`"),
        ("kind: Site", "kind: Rollout", "fleet.yaml"),
        (
            "apiVersion: millwright/v1\nkind: Site",
            "apiVersion: v2\nkind: Site",
            "apiVersion `v2`",
        ),
        ("name: leipzig", "name: Leipzig", "metadata.name of Site"),
        (
            "version: 1.0.0",
            "versions: 1.0.0",
            "did you mean `version`",
        ),
    ] {
        let error = refused(from, to);
        assert!(error.contains(expected), "{to}: {error}");
    }
    let twice = format!("{GOOD}---\n{GOOD}");
    let error = check(&twice).unwrap_err().to_string();
    assert!(
        error.contains("Site `leipzig` stands there twice"),
        "{error}"
    );
    let error = check("# nothing\n---\n").unwrap_err().to_string();
    assert_eq!(error, "fleet.yaml holds no document");
}

const PIPELINE: &str = "\
apiVersion: millwright/v1
kind: Pipeline
metadata: {name: rows, labels: {cell: press}}
spec:
  selector: {matchLabels: {line: press}}
  source: {push: {payload: {json: {fields: {zeta: z, alpha: a}}}}}
  model: m
";

#[test]
fn a_pipeline_is_refused_in_the_words_of_the_node() {
    let documents = check(PIPELINE).unwrap();
    assert_eq!(documents[0].identity(), ("Pipeline", "rows"));
    for (from, to) in [
        ("zeta: z", "zeta: z..z"),
        ("{push", "{pushh"),
        ("model: m", "modle: m"),
    ] {
        let text = PIPELINE.replace(from, to);
        let here = check(&text).unwrap_err().to_string();
        let there = millwright_pipeline::Pipeline::parse(&text, "fleet.yaml").unwrap_err();
        assert_eq!(here, there.to_string());
    }
}

#[test]
fn another_order_of_the_fields_of_a_row_is_another_pipeline() {
    let read = |text: &str| match check(text).unwrap().pop() {
        Some(Document::Pipeline(pipeline)) => pipeline,
        other => panic!("{other:?}"),
    };
    let turned = PIPELINE.replace("zeta: z, alpha: a", "alpha: a, zeta: z");
    assert!(is_same(&*read(PIPELINE), &*read(PIPELINE)));
    assert!(!is_same(&*read(PIPELINE), &*read(&turned)));
}
