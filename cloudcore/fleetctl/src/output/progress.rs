//! Bars on stderr for long work; hidden by themselves when nobody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// For `bytes` that are on their way, named by its message.
pub(crate) fn transfer(bytes: u64) -> ProgressBar {
    bar(bytes, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
}

/// Of a length, drawn after `template`; plain where the template cannot be read.
pub(crate) fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
