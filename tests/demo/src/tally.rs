//! What came of the requests one model version answered on one node.

/// Requests of one model version on one node, counted by the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Of every answered request, as the client saw it.
    pub(crate) latency_ms: Vec<f64>,
    /// What went wrong, one entry per failed request.
    pub(crate) failures: Vec<String>,
    /// Faces or anomalies found where there are some.
    pub(crate) found: u64,
    /// Answers that are not right, one entry each (pictures), or why the whole is not (sensors).
    pub(crate) wrong: Vec<String>,
    /// For people: how good the findings are, where a count does not say it.
    pub(crate) quality: Option<String>,
}
