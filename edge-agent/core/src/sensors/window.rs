//! Several rows at a time.

use std::collections::VecDeque;

/// Gathers rows into windows of a fixed size that begin a fixed number of rows apart.
#[derive(Clone, Debug)]
pub struct Windows {
    size: usize,
    step: usize,
    rows: VecDeque<Vec<f64>>,
    /// Rows to pass over before the next window begins; above 0 only when the step is longer than the size.
    skip: usize,
}

impl Windows {
    /// Windows of `size` rows, a new one every `step`; 0 counts as 1.
    #[must_use]
    pub fn new(size: usize, step: usize) -> Self {
        Self {
            size: size.max(1),
            step: step.max(1),
            rows: VecDeque::new(),
            skip: 0,
        }
    }

    /// Takes a row. Returns the window it completes, row after row.
    pub fn push(&mut self, row: Vec<f64>) -> Option<Vec<f64>> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.rows.push_back(row);
        if self.rows.len() < self.size {
            return None;
        }
        let window = self.rows.iter().flatten().copied().collect();
        let gone = self.step.min(self.size);
        self.rows.drain(..gone);
        self.skip = self.step - gone;
        Some(window)
    }

    /// Forgets the rows of an unfinished window: what comes next does not follow them.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.skip = 0;
    }
}

/// A window of rows turned over: field after field.
#[must_use]
pub fn by_field(window: &[f64], fields: usize) -> Vec<f64> {
    let fields = fields.max(1);
    (0..fields)
        .flat_map(|field| window.iter().skip(field).step_by(fields).copied())
        .collect()
}
