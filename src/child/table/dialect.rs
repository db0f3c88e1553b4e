//! How a CSV file separates its fields and writes its numbers: seen from its first line, because
//! spreadsheet programs write what their user's country is used to. Must not know what the columns
//! mean.

/// Separators that are looked for; the first of them where none fits better.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub separator: u8,
}

impl Dialect {
    /// That in which the first line of `head` (the beginning of the file) holds most of the columns
    /// that are needed.
    pub fn of(head: &[u8], needed: &[&str]) -> Self {
        let found = |separator: u8| {
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(separator)
                .trim(csv::Trim::All)
                .from_reader(head);
            let names = reader.byte_headers().cloned().unwrap_or_default();
            needed
                .iter()
                .filter(|needed| names.iter().any(|name| is_same(name, needed)))
                .count()
        };
        // `max_by_key` would take the last of equals.
        let separator = SEPARATORS
            .into_iter()
            .rev()
            .max_by_key(|&separator| found(separator))
            .unwrap_or(b',');
        Self { separator }
    }

    /// A number. Where fields are separated by semicolons, a comma may stand for the decimal point:
    /// that is why they are.
    pub fn number(self, text: &str) -> Option<f64> {
        text.parse().ok().or_else(|| {
            let has_decimal_comma = self.separator == b';' && text.matches(',').count() == 1;
            has_decimal_comma
                .then(|| text.replace(',', ".").parse().ok())
                .flatten()
        })
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self.separator {
            b';' => "semicolons",
            b'\t' => "tabs",
            b'|' => "bars",
            _ => "commas",
        }
    }
}

/// As columns are found: a space and an underscore are the same.
fn is_same(name: &[u8], needed: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b' ' } else { byte };
    name.iter()
        .copied()
        .map(plain)
        .eq(needed.bytes().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_the_one_that_shows_the_columns() {
        let of = |head: &str| Dialect::of(head.as_bytes(), &["op", "drop out", "reward"]).separator;
        assert_eq!(of("op,drop_out,reward\n1,2,3\n"), b',');
        assert_eq!(of("op;drop_out;reward\n1;2;0,5\n"), b';');
        assert_eq!(of("op\tdrop_out\treward\n"), b'\t');
        assert_eq!(of("op | drop_out | reward\n"), b'|');
        assert_eq!(of("\u{feff}\"op\";\"drop out\";\"reward\"\r\n"), b';');
        // A comma in a name decides nothing.
        assert_eq!(of("\"a,b\";op;drop_out;reward\n"), b';');
        assert_eq!(of("op;x,drop_out,reward\n"), b',');
        for nothing in ["", "\n", "other\n", "\u{feff}"] {
            assert_eq!(of(nothing), b',');
        }
    }

    #[test]
    fn a_decimal_comma_belongs_to_semicolons() {
        let number = |separator: u8, text: &str| Dialect { separator }.number(text);
        assert_eq!(number(b';', "0,75"), Some(0.75));
        assert_eq!(number(b';', "-1,5e-3"), Some(-0.0015));
        assert_eq!(number(b';', "0.75"), Some(0.75));
        assert_eq!(number(b';', "1,234,5"), None);
        assert_eq!(number(b'\t', "0,75"), None);
        assert_eq!(number(b',', "0,75"), None);
    }
}
