//! The layout of `describe`: aligned fields, then sections.

use std::fmt::{self, Display, Write as _};

use super::{Column, Format, table};

/// Column where values begin.
const VALUE_COLUMN: usize = 22;

/// What `describe` prints of one object.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// One line `Name:   value`; an empty value shows as `-`.
    pub(crate) fn field(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        let value = if value.is_empty() { "-" } else { &value };
        self.line(format_args!("{:<VALUE_COLUMN$}{value}", format!("{name}:")));
    }

    /// One line `Name:   value` when there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// Pairs below each other; the first stands beside the name.
    pub(crate) fn pairs<'a>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) {
        let mut name = format!("{name}:");
        let mut any = false;
        for (key, value) in pairs {
            self.line(format_args!("{name:<VALUE_COLUMN$}{key}={value}"));
            name.clear();
            any = true;
        }
        if !any {
            self.line(format_args!("{name:<VALUE_COLUMN$}-"));
        }
    }

    /// A table under a heading; nothing but `none` when there are no rows.
    pub(crate) fn rows(&mut self, name: &str, columns: &[Column], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return self.field(name, "none");
        }
        self.line(format_args!("{name}:"));
        for line in table(columns, rows, Format::Wide).lines() {
            self.line(format_args!("  {line}"));
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to a String does not fail");
    }
}

impl Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_align_and_sections_indent() {
        let mut page = Page::default();
        page.field("Name", "press-1");
        page.optional("Arch", None::<&str>);
        let labels = [
            ("line".to_owned(), "a".to_owned()),
            ("cell".to_owned(), "7".to_owned()),
        ];
        page.pairs("Labels", labels.iter().map(|(key, value)| (key, value)));
        page.rows(
            "Models",
            &[Column::Always("MODEL")],
            vec![vec!["m".to_owned()]],
        );
        page.rows("Conditions", &[Column::Always("TYPE")], Vec::new());
        assert_eq!(
            page.to_string(),
            "Name:                 press-1\n\
             Labels:               line=a\n                      cell=7\n\
             Models:\n  MODEL\n  m\n\
             Conditions:           none\n"
        );
    }
}
