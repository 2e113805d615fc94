// Reads a file's `aliases` without parsing the rest. The build script includes this file to make the index of
// built-in entries, so it uses nothing but the standard library.

/// The strings of the top-level `aliases = [...]` of a TOML text.
pub(crate) fn aliases(text: &str) -> Vec<String> {
    let mut rest = text;
    while let Some(line) = rest.lines().next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            break;
        }
        let list =
            trimmed.strip_prefix("aliases").map(str::trim_start).and_then(|after| after.strip_prefix('='));
        if list.is_some() {
            let start = rest.find('[').map_or(rest.len(), |at| at + 1);
            let body = &rest[start..];
            let body = &body[..body.find(']').unwrap_or(body.len())];
            return body.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        }
        rest = rest.get(line.len()..).unwrap_or("");
        rest = rest.strip_prefix('\r').unwrap_or(rest);
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    Vec::new()
}
