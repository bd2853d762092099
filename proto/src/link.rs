//! Generated message types of `millwright.link.v1`; the `.proto` files in `proto/proto/` document them.

#![allow(
    missing_docs,
    clippy::large_enum_variant,
    clippy::doc_markdown,
    unreachable_pub
)]

include!(concat!(env!("OUT_DIR"), "/millwright.link.v1.rs"));
