//! How requests that come together are joined into one run of the model.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::document::{FieldError, refuse};
use super::{Dim, TensorSpec};

/// Most rows of one run: more hide one slow run from the clients, and bring no throughput.
const ROWS_MAX: u32 = 4096;

/// Longest wait for further requests, in microseconds.
const DELAY_US_MAX: u32 = 100_000;

/// Wait for further requests when the manifest names none: clients of the same machine come again within it.
const DELAY_US: u32 = 500;

/// How requests are joined along the first dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Most rows of one run.
    pub max_rows: NonZeroU32,
    /// How long a run waits at most for further requests, in microseconds, while several come at a time.
    pub max_delay_us: u32,
}

/// `spec.batching` as it stands in YAML.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BatchingRule {
    max_rows: u32,
    #[serde(default)]
    max_delay_us: Option<u32>,
}

impl BatchingRule {
    pub(super) fn check(
        self,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
        stateless: bool,
    ) -> Result<Batching, FieldError> {
        let max_rows = NonZeroU32::new(self.max_rows);
        let Some(max_rows) = max_rows.filter(|rows| (2..=ROWS_MAX).contains(&rows.get())) else {
            let problem = format!("is {}; expected 2 to {ROWS_MAX}", self.max_rows);
            return refuse("spec.batching.maxRows", problem);
        };
        let max_delay_us = self.max_delay_us.unwrap_or(DELAY_US);
        if max_delay_us > DELAY_US_MAX {
            let problem = format!("is {max_delay_us}; expected at most {DELAY_US_MAX}");
            return refuse("spec.batching.maxDelayUs", problem);
        }
        if !stateless {
            let problem = "does not go with spec.state: each sequence is computed by itself";
            return refuse("spec.batching", problem);
        }
        let fixed = |spec: &&TensorSpec| spec.shape.first() != Some(&Dim::Dynamic);
        if let Some(spec) = inputs.iter().chain(outputs).find(fixed) {
            let problem = format!(
                "joins requests along the first dimension, which has to be -1 in every input and output; `{}` has {:?}",
                spec.name,
                spec.dims()
            );
            return refuse("spec.batching", problem);
        }
        Ok(Batching {
            max_rows,
            max_delay_us,
        })
    }
}
