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
