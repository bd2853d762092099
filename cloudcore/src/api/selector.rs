//! Label and field selectors, as in Kubernetes.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value;

/// Most requirements in one selector; more is a mistake.
const REQUIREMENTS_MAX: usize = 64;

/// Which objects by their labels: `line=press,stage!=test,zone in (a, b),!spare`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

/// Which objects by their fields: `metadata.name=press-1,spec.site!=berlin`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<FieldRequirement>);

/// One part of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// One part of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FieldRequirement {
    Is(String, String),
    IsNot(String, String),
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            // As in Kubernetes: an object without the label is selected too.
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = split_outside_brackets(text)?;
        let requirements = parts.iter().map(|part| requirement(part));
        Ok(Self(requirements.collect::<Result<_, _>>()?))
    }
}

fn requirement(part: &str) -> Result<Requirement, String> {
    if let Some((key, values)) = part.split_once(" notin ") {
        return Ok(Requirement::NotIn(key_of(key)?, values_of(values)?));
    }
    if let Some((key, values)) = part.split_once(" in ") {
        return Ok(Requirement::In(key_of(key)?, values_of(values)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key_of(key)?, vec![value_of(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key_of(key)?, vec![value_of(value)?]));
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(key_of(key)?)),
        None => Ok(Requirement::Exists(key_of(part)?)),
    }
}

fn key_of(text: &str) -> Result<String, String> {
    let key = text.trim();
    super::names::check_label_key(key)?;
    Ok(key.to_owned())
}

fn value_of(text: &str) -> Result<String, String> {
    let value = text.trim();
    super::names::check_label_value(value)?;
    Ok(value.to_owned())
}

fn values_of(text: &str) -> Result<Vec<String>, String> {
    let inner = text
        .trim()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| format!("`{text}` must be a list such as (a, b)"))?;
    inner.split(',').map(value_of).collect()
}

/// Splits at commas that are not inside `(...)`; empty text has no parts.
fn split_outside_brackets(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    if parts == [""] {
        parts.clear();
    }
    if parts.len() > REQUIREMENTS_MAX {
        return Err(format!("a selector may have {REQUIREMENTS_MAX} parts"));
    }
    Ok(parts)
}

impl FieldSelector {
    /// Whether an object is selected; `document` is the object as JSON.
    pub(crate) fn matches(&self, document: &Value) -> bool {
        let is = |path: &str, wanted: &str| {
            let pointer = format!("/{}", path.replace('.', "/"));
            match document.pointer(&pointer) {
                Some(Value::String(text)) => text == wanted,
                Some(Value::Number(number)) => number.to_string() == wanted,
                Some(Value::Bool(truth)) => truth.to_string() == wanted,
                Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => wanted.is_empty(),
            }
        };
        self.0.iter().all(|requirement| match requirement {
            FieldRequirement::Is(path, value) => is(path, value),
            FieldRequirement::IsNot(path, value) => !is(path, value),
        })
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a selector on the fields `known`.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let parts = split_outside_brackets(text)?;
        let requirements = parts.iter().map(|part| {
            let (path, value, negated) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, true)
            } else if let Some((path, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                (path, value, false)
            } else {
                return Err(format!("`{part}` must be of the form field=value"));
            };
            let (path, value) = (path.trim(), value.trim().to_owned());
            if !known.contains(&path) {
                let known = known.join(", ");
                return Err(format!(
                    "field `{path}` cannot be selected on; known are {known}"
                ));
            }
            let path = path.to_owned();
            Ok(if negated {
                FieldRequirement::IsNot(path, value)
            } else {
                FieldRequirement::Is(path, value)
            })
        });
        Ok(Self(requirements.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        selector.parse::<LabelSelector>().unwrap().matches(&labels)
    }

    #[test]
    fn label_selectors_read_as_in_kubernetes() {
        let press = [("line", "press"), ("zone", "a")];
        for yes in [
            "",
            "line=press",
            "line==press,zone=a",
            "line!=weld",
            "zone in (a, b)",
            "zone notin (b),line",
            "!spare",
            "spare!=yes",
            "spare notin (yes)",
        ] {
            assert!(selects(yes, &press), "{yes}");
        }
        for no in [
            "line=weld",
            "zone in (b,c)",
            "spare",
            "!line",
            "zone!=a",
            "spare=yes",
        ] {
            assert!(!selects(no, &press), "{no}");
        }
    }

    #[test]
    fn what_is_no_label_selector_is_refused() {
        for bad in [
            "a=b=c",
            "zone in a",
            "zone in (a",
            "-x=1",
            "a=b,,c",
            "zone in (a b)",
        ] {
            assert!(bad.parse::<LabelSelector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_know_their_fields() {
        let known = ["metadata.name", "spec.site"];
        let document =
            serde_json::json!({"metadata": {"name": "press-1"}, "spec": {"site": "berlin"}});
        let matches = |text| FieldSelector::parse(text, &known).map(|s| s.matches(&document));
        assert_eq!(matches("metadata.name=press-1,spec.site!=ulm"), Ok(true));
        assert_eq!(matches("spec.site=ulm"), Ok(false));
        let fault = matches("spec.sit=ulm").unwrap_err();
        assert_eq!(
            fault,
            "field `spec.sit` cannot be selected on; known are metadata.name, spec.site"
        );
    }
}
