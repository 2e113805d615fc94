//! Where in the text of a TOML file a key is, for messages.

/// The line, counted from 1, of the key that `is_key` tells in the `index`-th table called `table` (`deployment.pool`, say;
/// empty for the top level); of the table's head where the key is not written.
pub fn line_of(text: &str, table: &str, index: usize, is_key: impl Fn(&str) -> bool) -> Option<usize> {
    let (mut current, mut seen, mut header) = (String::new(), 0, None);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            current = line.split(']').next().unwrap_or("").trim_start_matches('[').trim().to_owned();
            if current == table {
                if seen == index {
                    header = Some(number + 1);
                }
                seen += 1;
            }
            continue;
        }
        let here = current == table && (table.is_empty() || seen == index + 1);
        let name = line.split('=').next().unwrap_or("").trim().trim_matches('"');
        if here && is_key(name) {
            return Some(number + 1);
        }
    }
    header
}
