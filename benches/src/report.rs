//! Tables of results.

/// One kind of measurement.
pub struct Table {
    pub title: &'static str,
    pub head: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
    /// How it was measured, and what a reader must know to judge it.
    pub notes: Vec<String>,
}

impl Table {
    /// The table as Markdown with aligned columns.
    pub fn text(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = format!("## {}\n\n", self.title);
        line(&mut text, self.head.iter().copied(), &widths);
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(&mut text, rules.iter().map(String::as_str), &widths);
        for row in &self.rows {
            line(&mut text, row.iter().map(String::as_str), &widths);
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    for (cell, width) in cells.zip(widths) {
        text.push_str(&format!("| {cell:width$} "));
    }
    text.push_str("|\n");
}

/// What a soak wrote at the end of RESULTS.md, which the other measurements leave there.
pub fn soak_of(results: &str) -> &str {
    results.find("\n## Soak\n").map_or("", |at| &results[at..])
}

/// The content of RESULTS.md.
pub fn markdown(machine: &str, tables: &[Table]) -> String {
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`. Compare ratios, not times: both sides of a ratio ran interleaved in one run.\n\n",
    );
    text.push_str(machine);
    for table in tables {
        text.push('\n');
        text.push_str(&table.text());
    }
    text
}

/// The cells `target` and `met` of a value that is to be at most `limit`.
pub fn at_most(value: f64, limit: f64, unit: &str) -> [String; 2] {
    [format!("<= {limit}{unit}"), if value <= limit { "yes".into() } else { "NO".into() }]
}

/// The cells `target` and `met` of a value that is to be at least `limit`.
pub fn at_least(value: f64, limit: f64, unit: &str) -> [String; 2] {
    [format!(">= {limit}{unit}"), if value >= limit { "yes".into() } else { "NO".into() }]
}

/// The cells `target` and `met` of what has no target.
pub fn no_target() -> [String; 2] {
    [String::new(), String::new()]
}

/// `1.23x`.
pub fn ratio(ours: f64, theirs: f64) -> String {
    format!("{:.2}x", ours / theirs)
}

/// Seconds in the unit that suits them.
pub fn seconds(value: f64) -> String {
    match value {
        value if value >= 1.0 => format!("{value:.2} s"),
        value if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
        value if value >= 1e-6 => format!("{:.1} us", value * 1e6),
        value => format!("{:.0} ns", value * 1e9),
    }
}

/// The value below which the fraction `part` of the values lies. The values are sorted by it.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The mean of ratios.
pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        let mut values = vec![3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(quantile(&mut values, 0.0), 1.0);
        assert_eq!(quantile(&mut values, 0.5), 3.0);
        assert_eq!(quantile(&mut values, 1.0), 5.0);
        assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["long name".into(), "1".into()]];
        let table = Table { title: "T", head: &["a", "b"], rows, notes: vec!["Note.".into()] };
        assert_eq!(
            table.text(),
            "## T\n\n| a         | b |\n| --------- | - |\n| long name | 1 |\n\nNote.\n"
        );
    }

    #[test]
    fn the_soak_stays() {
        assert_eq!(soak_of("# B\n\n## A\n\nx\n\n## Soak\n\ny\n"), "\n## Soak\n\ny\n");
        assert_eq!(soak_of("# B\n"), "");
    }

    #[test]
    fn units() {
        let texts = [1.5, 0.0125, 12.34e-6, 45e-9].map(seconds);
        assert_eq!(texts, ["1.50 s", "12.50 ms", "12.3 us", "45 ns"]);
    }
}
