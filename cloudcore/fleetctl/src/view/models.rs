//! Models and their versions.

use fleet_api::{Model, ModelVersion, PackageFile, Resource};
use jiff::Timestamp;

use super::{View, text};
use crate::output::{Column, Page, age_of, bytes};

impl View for Model {
    const COLUMNS: &'static [Column] = &[
        Column::Always("NAME"),
        Column::Always("VERSIONS"),
        Column::Always("DESCRIPTION"),
        Column::Always("AGE"),
    ];

    fn cells(model: &Resource<Self>, now: Timestamp) -> Vec<String> {
        vec![
            model.metadata.name.clone(),
            model.status.versions.to_string(),
            text(model.spec.description.as_ref()),
            age_of(model.metadata.creation_timestamp, now),
        ]
    }

    fn details(model: &Resource<Self>, page: &mut Page, _: Timestamp) {
        page.field("Description", text(model.spec.description.as_ref()));
        page.field("Versions", model.status.versions);
    }
}

impl View for ModelVersion {
    const COLUMNS: &'static [Column] = &[
        Column::Always("MODEL"),
        Column::Always("VERSION"),
        Column::Always("FILES"),
        Column::Always("SIZE"),
        Column::Wide("MANIFEST"),
        Column::Wide("SIGNED BY"),
        Column::Always("AGE"),
    ];

    fn cells(version: &Resource<Self>, now: Timestamp) -> Vec<String> {
        let files = &version.spec.files;
        let manifest = files
            .iter()
            .find(|file| file.path == millwright_package::MANIFEST_FILE);
        vec![
            version.spec.model.clone(),
            version.spec.version.clone(),
            files.len().to_string(),
            bytes(files.iter().map(|file| file.size_bytes).sum()),
            text(manifest.map(|file| &file.digest)),
            signer(version),
            age_of(version.metadata.creation_timestamp, now),
        ]
    }

    fn details(version: &Resource<Self>, page: &mut Page, _: Timestamp) {
        page.field("Model", &version.spec.model);
        page.field("Version", &version.spec.version);
        page.field("Signed By", signer(version));
        let cells = |file: &PackageFile| {
            vec![
                file.path.clone(),
                bytes(file.size_bytes),
                file.digest.clone(),
            ]
        };
        let rows = version.spec.files.iter().map(cells).collect();
        page.rows(
            "Files",
            &["PATH", "SIZE", "DIGEST"].map(Column::Always),
            rows,
        );
    }
}

/// The key the bundle names; nothing is verified for this.
fn signer(version: &Resource<ModelVersion>) -> String {
    text(
        millwright_package::signer_hint(&version.spec.bundle)
            .ok()
            .flatten(),
    )
}
