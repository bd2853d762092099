//! Sites, nodes and join tokens.

use fleet_api::{JoinToken, Node, NodeModelStatus, NodePhase, NodeStatus, Resource, Site};
use jiff::Timestamp;

use super::{View, condition, conditions, text, time};
use crate::output::{Column, Page, age_of};

impl View for Site {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("NODES"),
        Column::Always("CONNECTED"),
        Column::Always("DISPLAY NAME"),
        Column::Wide("TIME ZONE"),
        Column::Wide("GRID ZONE"),
        Column::Always("AGE"),
    ];

    fn cells(site: &Resource<Self>, now: Timestamp) -> Vec<String> {
        vec![
            site.metadata.name.clone(),
            site.status.nodes.to_string(),
            site.status.connected.to_string(),
            text(site.spec.display_name.as_ref()),
            text(site.spec.time_zone.as_ref()),
            text(site.spec.grid_zone.as_ref()),
            age_of(site.metadata.creation_timestamp, now),
        ]
    }

    fn details(site: &Resource<Self>, page: &mut Page, _: Timestamp) {
        page.field("Display Name", text(site.spec.display_name.as_ref()));
        page.field("Time Zone", text(site.spec.time_zone.as_ref()));
        page.field("Grid Zone", text(site.spec.grid_zone.as_ref()));
        page.field("Nodes", site.status.nodes);
        page.field("Connected", site.status.connected);
    }
}

impl View for Node {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("SITE"),
        Column::Always("STATE"),
        Column::Always("TRANSPORT"),
        Column::Always("MODELS"),
        Column::Always("LAST SEEN"),
        Column::Wide("GENERATION"),
        Column::Wide("AGENT"),
        Column::Wide("ARCH"),
        Column::Wide("ONNX RUNTIME"),
        Column::Wide("UID"),
        Column::Always("AGE"),
    ];

    fn cells(node: &Resource<Self>, now: Timestamp) -> Vec<String> {
        let status = &node.status;
        vec![
            node.metadata.name.clone(),
            node.spec.site.clone(),
            state(status),
            status
                .transport
                .map(|transport| format!("{transport:?}"))
                .unwrap_or_default(),
            models(&status.models),
            age_of(status.last_seen, now),
            format!(
                "{}/{}",
                status.applied_generation, status.desired_generation
            ),
            text(status.agent_version.as_ref()),
            text(status.arch.as_ref()),
            text(status.onnxruntime.as_ref()),
            status.uid.clone(),
            age_of(node.metadata.creation_timestamp, now),
        ]
    }

    fn details(node: &Resource<Self>, page: &mut Page, now: Timestamp) {
        let status = &node.status;
        page.field("Site", &node.spec.site);
        page.field("UID", &status.uid);
        page.field("Phase", format!("{:?}", status.phase));
        page.field("State", state(status));
        page.optional(
            "Transport",
            status.transport.map(|transport| format!("{transport:?}")),
        );
        page.field("Last Seen", time(status.last_seen));
        page.field("Agent", text(status.agent_version.as_ref()));
        page.field("Architecture", text(status.arch.as_ref()));
        page.field("ONNX Runtime", text(status.onnxruntime.as_ref()));
        page.field("Desired Generation", status.desired_generation);
        page.field("Applied Generation", status.applied_generation);
        page.field("Certificate Ends", time(status.certificate_expires));
        let columns = ["MODEL", "WANTED", "STATE", "ACTIVE", "REASON", "MESSAGE"];
        let cells = |slot: &NodeModelStatus| {
            vec![
                slot.model.clone(),
                slot.version.clone(),
                format!("{:?}", slot.state),
                text(slot.active_version.as_ref()),
                slot.reason.clone(),
                slot.message.clone(),
            ]
        };
        let rows = status.models.iter().map(cells).collect();
        page.rows("Models", &columns.map(Column::Always), rows);
        super::pipelines::on_node(page, &status.pipelines);
        conditions(page, &status.conditions, now);
    }
}

/// In one word: what keeps the node from working, else whether it is connected.
fn state(status: &NodeStatus) -> String {
    match status.phase {
        NodePhase::Revoked | NodePhase::Decommissioned => format!("{:?}", status.phase),
        NodePhase::Enrolled => match condition(&status.conditions, "Connected").as_str() {
            "True" => "Connected".to_owned(),
            "False" => "Disconnected".to_owned(),
            _ if status.transport.is_some() => "Connected".to_owned(),
            _ if status.last_seen.is_none() => "NeverSeen".to_owned(),
            _ => "Disconnected".to_owned(),
        },
    }
}

/// `face-detector@1.0.0`, and what the wanted version waits for where it is another one.
fn models(slots: &[NodeModelStatus]) -> String {
    let slot = |slot: &NodeModelStatus| {
        let active = slot.active_version.as_deref();
        if active == Some(slot.version.as_str()) {
            return format!("{}@{}", slot.model, slot.version);
        }
        let active = active.unwrap_or("none");
        format!(
            "{}@{active} -> {} ({:?})",
            slot.model, slot.version, slot.state
        )
    };
    slots.iter().map(slot).collect::<Vec<_>>().join(", ")
}

impl View for JoinToken {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("SITE"),
        Column::Always("USES LEFT"),
        Column::Always("STATE"),
        Column::Always("EXPIRES"),
        Column::Always("AGE"),
    ];

    fn cells(token: &Resource<Self>, now: Timestamp) -> Vec<String> {
        vec![
            token.metadata.name.clone(),
            token.spec.site.clone(),
            format!("{}/{}", token.status.uses_left, token.spec.uses),
            token_state(token, now).to_owned(),
            time(token.status.expires),
            age_of(token.metadata.creation_timestamp, now),
        ]
    }

    fn details(token: &Resource<Self>, page: &mut Page, now: Timestamp) {
        page.field("Site", &token.spec.site);
        page.field("State", token_state(token, now));
        page.field("Uses", token.spec.uses);
        page.field("Uses Left", token.status.uses_left);
        page.field("Expires", time(token.status.expires));
    }
}

fn token_state(token: &Resource<JoinToken>, now: Timestamp) -> &'static str {
    let status = &token.status;
    if status.revoked {
        "Revoked"
    } else if status.expires.is_some_and(|end| end <= now) {
        "Expired"
    } else if status.uses_left == 0 {
        "UsedUp"
    } else {
        "Usable"
    }
}
