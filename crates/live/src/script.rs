//! A file of commands with their times: faults, repairs, changes of policy and jobs that come by themselves.
//!
//! One JSON document per line: a command as the administrator's port takes it, and `at`, the virtual time since the start:
//! `{"at": "10 s", "kill": {"chip": 3}}`.

use crate::admin::command;
use crate::app::App;
use crate::log::Entry;
use serde_json::Value;
use serving::Nanos;
use std::path::Path;
use std::sync::Arc;
use units::Seconds;

/// A command with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// When, virtual time.
    pub at: Nanos,
    /// What.
    pub entry: Entry,
    /// Where it stands, for messages.
    pub place: String,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct ScriptError {
    at: String,
    problem: String,
}

/// Reads a script; what it names is looked up when its time has come.
///
/// # Errors
/// A file that cannot be read, or a line that is no command with its time.
pub fn read(path: &Path) -> Result<Vec<Timed>, ScriptError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ScriptError { at: file.clone(), problem: error.to_string() })?;
    let mut commands = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("{file}:{}", number + 1);
        let wrong = |problem: String| ScriptError { at: place.clone(), problem };
        let mut document: Value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let at = document.as_object_mut().and_then(|fields| fields.remove("at"));
        let at = at.as_ref().and_then(Value::as_str).and_then(|at| at.parse::<Seconds>().ok());
        let at = at.filter(|at| (0.0..=3e8).contains(&at.get()));
        let at = at.ok_or_else(|| wrong("say when, from 0 on: \"at\": \"10 s\"".to_owned()))?;
        let entry = command(document.to_string().as_bytes()).map_err(|error| wrong(error.message))?;
        commands.push(Timed { at: Nanos::from_seconds(at), entry, place });
    }
    commands.sort_by_key(|command| command.at);
    Ok(commands)
}

/// Sends each command when its time has come; what is refused is said and left out.
pub async fn run(app: Arc<App>, commands: Vec<Timed>) {
    for Timed { at, entry, place } in commands {
        tokio::time::sleep_until(app.pace.instant(at).into()).await;
        let done = match entry {
            Entry::Job(order) => app.order_jobs(order).await.map(|_| ()),
            entry => app.administer(entry).await.map(|_| ()),
        };
        if let Err(error) = done {
            eprintln!("{place}: {}", error.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.jsonl");
        std::fs::write(&path, text).expect("written");
        let found = match read(&path) {
            Ok(commands) => commands.iter().map(|one| format!("{} ", one.at.get() / 1_000_000_000)).collect(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "`{expected}` is not in {found}");
    }

    #[test]
    fn scripts_are_read_in_the_order_of_time() {
        let line =
            "{\"at\": \"20 s\", \"kill\": {\"chip\": 3}}\n\n{\"at\": \"1 min\", \"heal\": {\"chip\": 3}}\n";
        check(&format!("{{\"at\": \"90 s\", \"cancel_job\": 1}}\n{line}"), "20 60 90");
        check("{\"kill\": {\"chip\": 3}}", "f.jsonl:1: say when");
        check("{\"at\": \"-1 s\", \"kill\": {\"chip\": 3}}", "f.jsonl:1: say when");
        check("\n{\"at\": \"1 s\", \"fly\": 1}", "f.jsonl:2: there is no command `fly`");
        check("{\"at\": \"1 s\", \"kill\": {\"chip\": \"x\"}}", "f.jsonl:1: `kill`");
        check("nonsense", "f.jsonl:1: expected");
    }
}
