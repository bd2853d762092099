//! Tables without borders, one line per object, so that `grep`, `awk` and people can read them.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

use super::Format;

/// Spaces between columns.
const COLUMN_GAP: u16 = 3;

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Always shown.
    Always(&'static str),
    /// Shown with `-o wide`.
    Wide(&'static str),
}

/// Renders rows whose cells stand in the order of `columns`; an empty cell becomes `-`.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>, format: Format) -> String {
    let shown = |column: &Column| match column {
        Column::Always(title) => Some(*title),
        Column::Wide(title) => (format == Format::Wide).then_some(*title),
    };
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().filter_map(shown));
    for row in rows {
        let cells = columns
            .iter()
            .zip(row)
            .filter(|(column, _)| shown(column).is_some());
        table.add_row(cells.map(|(_, cell)| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How long ago `then` was, in its largest unit: `45s`, `12m`, `5h`, `3d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    // Two units' worth of the smaller one, so that 90 minutes do not read as one hour.
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / MINUTE),
        7_200..172_800 => format!("{}h", seconds / HOUR),
        172_800.. => format!("{}d", seconds / DAY),
    }
}

/// [`age`] of something that may not have happened.
pub(crate) fn age_of(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map(|then| age(then, now)).unwrap_or_default()
}

/// A size for people: `7.3 MB`, in powers of 1000 as disks and networks are sold.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_columns_show_only_when_wide_and_empty_cells_as_a_dash() {
        let columns = [
            Column::Always("NAME"),
            Column::Wide("UID"),
            Column::Always("AGE"),
        ];
        let rows = || vec![vec!["press-1".to_owned(), "ab".to_owned(), String::new()]];
        assert_eq!(
            table(&columns, rows(), Format::Table),
            "NAME      AGE\npress-1   -\n"
        );
        assert_eq!(
            table(&columns, rows(), Format::Wide),
            "NAME      UID   AGE\npress-1   ab    -\n"
        );
    }

    #[test]
    fn ages_and_sizes_are_short() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let ages = [0, 119, 120, 7199, 7200, 172_800].map(|second| age(at(0), at(second)));
        assert_eq!(ages, ["0s", "119s", "2m", "119m", "2h", "2d"]);
        assert_eq!(age(at(100), at(0)), "0s");
        let sizes = [0, 999, 1000, 7_340_000, 999_960].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "7.3 MB", "1.0 MB"]);
    }
}
