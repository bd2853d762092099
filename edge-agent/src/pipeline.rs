//! Sources that feed models without being asked, and where their results go.
//!
//! One source so far, MQTT ([`mqtt`]), and one form of messages, JSON ([`message`]). A source acknowledges an
//! input only after its result is on the way, so an agent that is killed in between gets the input again.

pub mod message;
pub mod mqtt;
