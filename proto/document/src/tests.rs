use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Package {
    api_version: String,
    spec: Spec,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    model: String,
    #[serde(default)]
    inputs: Vec<Input>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    memory_mib: u32,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    name: String,
    reduce: Reduce,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reduce {
    Max,
    Min,
}

const GOOD: &str =
    "apiVersion: v1\nspec:\n  model: m.onnx\n  inputs:\n    - {name: a, reduce: max}\n";

#[test]
fn all_three_formats_read_the_same_document() {
    let yaml: Package = yaml(GOOD, "model.yaml").unwrap();
    let json: Package = json(
        r#"{"apiVersion":"v1","spec":{"model":"m.onnx","inputs":[{"name":"a","reduce":"max"}]}}"#,
        "body",
    )
    .unwrap();
    let toml: Package = toml(
        "apiVersion = 'v1'\n[spec]\nmodel = 'm.onnx'\n[[spec.inputs]]\nname = 'a'\nreduce = 'max'\n",
        "x.toml",
    )
    .unwrap();
    assert_eq!(yaml, json);
    assert_eq!(yaml, toml);
    assert_eq!(yaml.spec.inputs[0].reduce, Reduce::Max);
}

#[test]
fn an_unknown_key_is_refused_with_place_and_nearest_known_key_in_every_format() {
    let wrong_yaml = GOOD.replace("model:", "modle:");
    let wrong_json = "{\"apiVersion\":\"v1\",\n\"spec\":{\n\"modle\":\"m\"}}";
    let wrong_toml = "apiVersion = 'v1'\n[spec]\nmodle = 'm'\n";
    let faults = [
        (yaml::<Package>(&wrong_yaml, "model.yaml"), "model.yaml"),
        (json::<Package>(wrong_json, "body"), "body"),
        (toml::<Package>(wrong_toml, "x.toml"), "x.toml"),
    ];
    for (fault, origin) in faults {
        let fault = fault.unwrap_err();
        assert_eq!(
            fault.to_string(),
            format!("unknown key `modle` in spec ({origin} line 3): did you mean `model`?")
        );
        assert_eq!(fault.key().as_deref(), Some("spec.modle"));
        assert_eq!(fault.suggestion(), Some("model"));
        assert_eq!(fault.line(), Some(3));
    }
}

#[test]
fn unknown_keys_at_the_top_and_in_lists_name_their_path() {
    let top = yaml::<Package>("apiversion: v1\nspec: {model: m}\n", "a.yaml").unwrap_err();
    assert_eq!(
        top.to_string(),
        "unknown key `apiversion` at the top (a.yaml line 1): did you mean `apiVersion`?"
    );
    let nested = GOOD.replace("name: a", "nam: a");
    let nested = yaml::<Package>(&nested, "a.yaml").unwrap_err();
    assert_eq!(nested.key().as_deref(), Some("spec.inputs[0].nam"));
}

#[test]
fn separators_and_case_do_not_hide_the_known_key() {
    let text = GOOD.replace("  inputs", "  Memory_MiB: 3\n  inputs");
    let fault = yaml::<Package>(&text, "a.yaml").unwrap_err();
    assert_eq!(fault.suggestion(), Some("memoryMib"));
}

#[test]
fn a_word_near_to_nothing_lists_what_is_known() {
    let fault = json::<Package>(r#"{"zzzzzzzz":1}"#, "body").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "unknown key `zzzzzzzz` at the top (body line 1): known are `apiVersion`, `spec`"
    );
    assert_eq!(fault.suggestion(), None);
}

#[test]
fn missing_keys_unknown_values_and_wrong_types_name_their_place() {
    let missing = yaml::<Package>("apiVersion: v1\nspec: {inputs: []}\n", "a.yaml").unwrap_err();
    assert_eq!(missing.key().as_deref(), Some("spec.model"));
    assert!(
        missing
            .to_string()
            .starts_with("key `model` is missing in spec (a.yaml line 2)"),
        "{missing}"
    );

    let value = yaml::<Package>(&GOOD.replace("max", "mx"), "a.yaml").unwrap_err();
    assert_eq!(
        value.to_string(),
        "unknown value `mx` in spec.inputs[0].reduce (a.yaml line 5): did you mean `max`?"
    );

    let wrong = GOOD.replace("  inputs", "  memoryMib: many\n  inputs");
    let wrong = yaml::<Package>(&wrong, "a.yaml").unwrap_err();
    assert_eq!(wrong.key().as_deref(), Some("spec.memoryMib"));
    assert_eq!(
        wrong.to_string(),
        "cannot read the document in spec.memoryMib (a.yaml line 4): invalid u32"
    );
}

#[test]
fn a_key_may_stand_only_once() {
    for fault in [
        yaml::<Package>(
            "apiVersion: v1\napiVersion: v2\nspec: {model: m}\n",
            "a.yaml",
        ),
        toml::<Package>("apiVersion = '1'\napiVersion = '2'\n", "a.toml"),
        json::<Package>(r#"{"apiVersion":"1","apiVersion":"2"}"#, "body"),
    ] {
        assert!(
            matches!(fault, Err(DocumentError::Invalid { .. })),
            "{fault:?}"
        );
    }
}

#[test]
fn a_country_code_is_not_a_boolean() {
    let labels: BTreeMap<String, serde_json::Value> = yaml("country: no\n", "a.yaml").unwrap();
    assert_eq!(labels["country"], "no");
    let flags = yaml::<BTreeMap<String, bool>>("tls: yes\n", "a.yaml").unwrap_err();
    assert_eq!(flags.key().as_deref(), Some("tls"));
}

#[test]
fn oversized_text_is_refused_before_it_is_parsed() {
    let text = " ".repeat(DOCUMENT_BYTES_MAX + 1);
    for fault in [
        yaml::<Package>(&text, "big"),
        toml::<Package>(&text, "big"),
        json::<Package>(&text, "big"),
    ] {
        assert_eq!(
            fault.unwrap_err(),
            DocumentError::TooLarge {
                origin: "big".to_owned(),
                bytes: DOCUMENT_BYTES_MAX + 1
            }
        );
    }
}

#[test]
fn hostile_text_is_refused_without_a_panic_or_a_blow_up() {
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n".to_owned()
        + "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        + "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let deep = "[".repeat(100_000);
    let texts = [
        laughs.as_str(),
        deep.as_str(),
        "",
        "\u{0}",
        "---\n---\n",
        "{",
        "%",
        "key: !!binary x",
        "apiVersion: [unclosed",
    ];
    for text in texts {
        assert!(
            yaml::<Package>(text, "hostile")
                .unwrap_err()
                .to_string()
                .contains("hostile"),
            "{text:.20}"
        );
        assert!(
            toml::<Package>(text, "hostile")
                .unwrap_err()
                .to_string()
                .contains("hostile"),
            "{text:.20}"
        );
        assert!(
            json::<Package>(text, "hostile")
                .unwrap_err()
                .to_string()
                .contains("hostile"),
            "{text:.20}"
        );
    }
}

#[test]
fn a_stream_of_yaml_documents_keeps_its_line_numbers() {
    let stream = format!(
        "# first\n---\n{GOOD}---\n\n---\n{}",
        GOOD.replace("model:", "modle:")
    );
    let parts = split_yaml(&stream);
    assert_eq!(parts.len(), 2);
    assert_eq!(
        yaml::<Package>(&parts[0], "all.yaml").unwrap().api_version,
        "v1"
    );
    assert_eq!(
        yaml::<Package>(&parts[1], "all.yaml").unwrap_err().line(),
        Some(13)
    );
}
