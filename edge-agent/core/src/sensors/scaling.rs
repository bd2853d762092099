//! Numbers as the model was trained on them.

/// What is taken off every field and what the rest is multiplied by.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    fields: Vec<(f64, f64)>,
}

impl Scaling {
    /// To mean 0 and deviation 1. A deviation that is no number above 0 leaves the field unscaled but centred: a
    /// field that never changed in training tells the model nothing, however it is scaled.
    #[must_use]
    pub fn standard(mean: &[f64], std: &[f64]) -> Self {
        let fields = mean.iter().zip(std).map(|(mean, std)| {
            let factor = if std.is_finite() && *std > 0.0 {
                1.0 / std
            } else {
                1.0
            };
            (*mean, factor)
        });
        Self {
            fields: fields.collect(),
        }
    }

    /// To 0 to 1. What is outside the range stays outside.
    #[must_use]
    pub fn range(min: &[f64], max: &[f64]) -> Self {
        let spans: Vec<f64> = min.iter().zip(max).map(|(min, max)| max - min).collect();
        Self::standard(min, &spans)
    }

    /// How many fields it is for.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields.len()
    }

    /// Scales a row in place; fields beyond those it knows stay as they are.
    pub fn apply(&self, row: &mut [f64]) {
        for (value, (offset, factor)) in row.iter_mut().zip(&self.fields) {
            *value = (*value - offset) * factor;
        }
    }

    /// Scales a window in place in which `fields` fields lie one after another.
    pub fn apply_by_field(&self, window: &mut [f64], fields: usize) {
        let rows = (window.len() / fields.max(1)).max(1);
        for (values, (offset, factor)) in window.chunks_mut(rows).zip(&self.fields) {
            for value in values {
                *value = (*value - offset) * factor;
            }
        }
    }
}
