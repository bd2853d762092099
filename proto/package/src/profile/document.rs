//! The profile as it stands in JSON, and what has to hold before it is a [`Profile`].

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::ids::{ModelName, ModelVersion, Version};
use serde::{Deserialize, Serialize};

use super::{
    CLASSES_MAX, ClassShares, Distribution, FEATURE_NAME_BYTES_MAX, FEATURES_MAX, Profile, SCHEMA,
};

/// What is wrong with a value, and where.
#[derive(Debug)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) problem: String,
}

pub(super) fn refuse<T>(
    field: impl Into<String>,
    problem: impl Into<String>,
) -> Result<T, FieldError> {
    Err(FieldError {
        field: field.into(),
        problem: problem.into(),
    })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BaselineProfile {
    schema: u32,
    model: ModelName,
    version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<Feature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<Distribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Classes>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    name: String,
    of: Distribution,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    brightness: Distribution,
    contrast: Distribution,
    sharpness: Distribution,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Classes {
    count: u64,
    shares: BTreeMap<u32, f64>,
}

impl BaselineProfile {
    pub(super) fn of(profile: &Profile) -> Self {
        let feature = |(name, of): &(String, Distribution)| Feature {
            name: name.clone(),
            of: of.clone(),
        };
        Self {
            schema: SCHEMA,
            model: profile.model.model.clone(),
            version: profile.model.version.clone(),
            input: profile.input.clone(),
            features: profile.features.iter().map(feature).collect(),
            image: profile
                .image
                .clone()
                .map(|[brightness, contrast, sharpness]| Image {
                    brightness,
                    contrast,
                    sharpness,
                }),
            confidence: profile.confidence.clone(),
            classes: profile.classes.as_ref().map(|classes| Classes {
                count: classes.count,
                shares: classes.shares.clone(),
            }),
        }
    }

    pub(super) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("numbers, names and lists are JSON") + "\n"
    }

    pub(super) fn check(self) -> Result<Profile, FieldError> {
        if self.schema != SCHEMA {
            let problem = format!("is {}; this program reads {SCHEMA}", self.schema);
            return refuse("schema", problem);
        }
        if self.features.len() > FEATURES_MAX {
            let problem = format!("lists {}; at most {FEATURES_MAX}", self.features.len());
            return refuse("features", problem);
        }
        let mut names = BTreeSet::new();
        for (index, Feature { name, of }) in self.features.iter().enumerate() {
            let field = format!("features[{index}]");
            check_name(name, &field)?;
            if !names.insert(name) {
                return refuse(format!("{field}.name"), format!("repeats `{name}`"));
            }
            of.check(&format!("{field}.of"))?;
        }
        if let Some(image) = &self.image {
            image.brightness.check("image.brightness")?;
            image.contrast.check("image.contrast")?;
            image.sharpness.check("image.sharpness")?;
        }
        if let Some(confidence) = &self.confidence {
            confidence.check("confidence")?;
        }
        let classes = self.classes.map(Classes::check).transpose()?;
        Ok(Profile {
            model: ModelVersion {
                model: self.model,
                version: self.version,
            },
            input: self.input,
            features: self
                .features
                .into_iter()
                .map(|feature| (feature.name, feature.of))
                .collect(),
            image: self
                .image
                .map(|image| [image.brightness, image.contrast, image.sharpness]),
            confidence: self.confidence,
            classes,
            fingerprint: 1,
        })
    }
}

/// Names of features stand in metrics and on the wire, beside those this program gives itself.
pub(super) fn check_name(name: &str, field: &str) -> Result<(), FieldError> {
    let fits = (1..=FEATURE_NAME_BYTES_MAX).contains(&name.len());
    if !fits || name.contains(char::is_control) {
        let problem =
            format!("must be 1 to {FEATURE_NAME_BYTES_MAX} bytes without control characters");
        return refuse(format!("{field}.name"), problem);
    }
    if name.starts_with("image.") || name.starts_with("output.") {
        let problem = format!("is `{name}`; names beginning with `image.` or `output.` are taken");
        return refuse(format!("{field}.name"), problem);
    }
    Ok(())
}

impl Classes {
    fn check(self) -> Result<ClassShares, FieldError> {
        if self.shares.is_empty() || self.shares.len() > CLASSES_MAX {
            let problem = format!("lists {}; 1 to {CLASSES_MAX}", self.shares.len());
            return refuse("classes.shares", problem);
        }
        let sum: f64 = self.shares.values().sum();
        let are_shares = self
            .shares
            .values()
            .all(|share| (0.0..=1.0).contains(share));
        if !are_shares || sum > 1.001 || self.count == 0 {
            return refuse(
                "classes.shares",
                "must be 0 to 1 each and at most 1 together",
            );
        }
        Ok(ClassShares {
            count: self.count,
            shares: self.shares,
        })
    }
}
