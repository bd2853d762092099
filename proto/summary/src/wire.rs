//! Generated types of the stored form; they do not leave this crate.

#![allow(missing_docs, clippy::doc_markdown, unreachable_pub)]

include!(concat!(env!("OUT_DIR"), "/millwright.summary.v1.rs"));
