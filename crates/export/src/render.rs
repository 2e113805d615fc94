//! Templates to text.

use crate::error::ExportError;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/", $name)))),+]
    };
}

/// Every template, compiled in.
const TEMPLATES: &[(&str, &str)] = templates![
    "vllm.flags",
    "sglang.flags",
    "trtllm.flags",
    "vllm.env",
    "sglang.env",
    "trtllm.env",
    "pool.sh",
    "vllm.cmd",
    "sglang.cmd",
    "trtllm.cmd",
    "endpoints.sh",
    "launch.sh",
    "router.sh",
    "nginx.conf",
    "trtllm.yaml",
    "trtllm-disaggregated.yaml",
    "mooncake.json",
    "mooncake-master.sh",
    "dynamo.yaml",
    "llm-d.yaml",
    "lws.yaml",
    "k8s-vllm.sh",
    "megatron.flags",
    "pretrain.sh",
];

/// A flag of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// With its dashes.
    pub flag: String,
    /// Its value, if it takes one.
    pub value: Option<String>,
}

/// Renders templates.
pub struct Renderer(Environment<'static>);

impl Renderer {
    /// With every template parsed.
    ///
    /// # Errors
    /// A template is broken.
    pub fn new() -> Result<Self, ExportError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("word", |text: String| word(&text));
        environment.add_filter("value", |text: String| value(&text));
        environment.add_filter("text", |text: String| quoted(&text));
        for (name, source) in TEMPLATES {
            environment.add_template(name, source).map_err(|error| broken(name, &error))?;
        }
        Ok(Self(environment))
    }

    /// The text of a template.
    ///
    /// # Errors
    /// The template names something that is not there.
    pub fn text(&self, name: &str, context: impl Serialize) -> Result<String, ExportError> {
        let template = self.0.get_template(name).map_err(|error| broken(name, &error))?;
        template.render(context).map_err(|error| broken(name, &error))
    }

    /// The flags of an engine: a line each, the value after the first blank.
    ///
    /// # Errors
    /// As [`Renderer::text`].
    pub fn flags(&self, name: &str, context: impl Serialize) -> Result<Vec<Argument>, ExportError> {
        let text = self.text(name, context)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines
            .map(|line| match line.split_once(' ') {
                Some((flag, value)) => Argument { flag: flag.to_owned(), value: Some(value.to_owned()) },
                None => Argument { flag: line.to_owned(), value: None },
            })
            .collect())
    }

    /// Environment variables: a line each, the value after the first `=`.
    ///
    /// # Errors
    /// As [`Renderer::text`].
    pub fn variables(&self, name: &str, context: impl Serialize) -> Result<Vec<Argument>, ExportError> {
        let text = self.text(name, context)?;
        let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        Ok(pairs
            .map(|(flag, value)| Argument { flag: flag.to_owned(), value: Some(value.to_owned()) })
            .collect())
    }
}

fn broken(name: &str, error: &minijinja::Error) -> ExportError {
    ExportError::Template { name: name.to_owned(), problem: format!("{error:#}") }
}

/// A word of a shell command in which nothing means anything to the shell.
fn word(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A value from a template of flags or variables, in which `${...}` is a variable of the script. Such templates hold
/// nothing else that comes from outside but numbers.
fn value(text: &str) -> String {
    if text.contains("${") {
        let escaped: String =
            text.chars()
                .map(|letter| {
                    if matches!(letter, '"' | '\\' | '`') {
                        format!("\\{letter}")
                    } else {
                        letter.to_string()
                    }
                })
                .collect();
        format!("\"{escaped}\"")
    } else {
        word(text)
    }
}

/// Text in double quotes as JSON and YAML read it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_themselves_to_a_shell() {
        assert_eq!(word("deepseek-ai/DeepSeek-R1"), "deepseek-ai/DeepSeek-R1");
        assert_eq!(word(r#"{"a":1}"#), r#"'{"a":1}'"#);
        assert_eq!(word("it's; rm -rf $HOME ${x}"), r"'it'\''s; rm -rf $HOME ${x}'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn variables_of_the_script_are_filled_in() {
        assert_eq!(value(r#"{"port":"${port}"}"#), r#""{\"port\":\"${port}\"}""#);
        assert_eq!(value("8"), "8");
    }
}
