//! The words of reports and tables, in one file per language.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// A language that reports are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

impl Lang {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// Its code, as pages and flags write it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::En => include_str!("words/en.toml"),
            Self::Zh => include_str!("words/zh.toml"),
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A language there are no words in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a language of reports; use en or zh")]
pub struct UnknownLanguage(
    /// What was given.
    pub String,
);

impl FromStr for Lang {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, UnknownLanguage> {
        let known = Self::ALL.into_iter().find(|lang| lang.code().eq_ignore_ascii_case(text.trim()));
        known.ok_or_else(|| UnknownLanguage(text.to_owned()))
    }
}

/// The words of one language.
#[derive(Debug)]
pub struct Words {
    /// Which.
    pub lang: Lang,
    entries: BTreeMap<String, String>,
}

impl Words {
    /// The words of `lang`.
    pub fn of(lang: Lang) -> &'static Self {
        static EN: OnceLock<Words> = OnceLock::new();
        static ZH: OnceLock<Words> = OnceLock::new();
        let cell = match lang {
            Lang::En => &EN,
            Lang::Zh => &ZH,
        };
        cell.get_or_init(|| Self { lang, entries: parse(lang.file()) })
    }

    /// The keys there are words for.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The words for `key`; the key itself where there are none, which a test rules out.
    pub fn say<'a>(&'a self, key: &'a str) -> &'a str {
        self.entries.get(key).map_or(key, String::as_str)
    }

    /// The words for a term that the library names itself (a bound, a family of operators, a grade): the term as it is
    /// where the language has no other word for it.
    pub fn term<'a>(&'a self, term: &'a str) -> &'a str {
        let key = format!("term-{}", term.replace(' ', "-"));
        self.entries.get(&key).map_or(term, String::as_str)
    }

    /// The words for several terms with commas between them.
    pub fn terms(&self, terms: &str) -> String {
        terms.split(", ").map(|term| self.term(term)).collect::<Vec<_>>().join(self.say("list-comma"))
    }

    /// The sentence for `key` with `{name}` replaced by its value.
    pub fn fill(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut rest = self.say(key);
        let mut out = String::with_capacity(rest.len() + 32);
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let inner = &rest[open + 1..];
            let Some(close) = inner.find('}') else { break };
            let value = values.iter().find(|(name, _)| *name == &inner[..close]);
            out.push_str(value.map_or("", |(_, value)| value));
            rest = &inner[close + 1..];
        }
        out.push_str(rest);
        out
    }
}

/// The files are part of the program; what is wrong with one is found by the tests.
fn parse(text: &str) -> BTreeMap<String, String> {
    toml::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_language_has_the_same_keys_and_the_same_placeholders() {
        let [en, zh] = Lang::ALL.map(Words::of);
        assert!(en.entries.len() > 50, "the words can be read");
        assert_eq!(en.keys().collect::<Vec<_>>(), zh.keys().collect::<Vec<_>>());
        for key in en.keys() {
            assert_eq!(placeholders(en.say(key)), placeholders(zh.say(key)), "{key}");
            assert!(!zh.say(key).trim().is_empty(), "{key}");
        }
    }

    fn sources(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("words.rs")
            {
                into.push_str(&std::fs::read_to_string(path).expect("text"));
            }
        }
    }

    #[test]
    fn every_key_in_the_source_has_words_and_all_words_are_used() {
        let mut text = String::new();
        for crate_ in ["report", "jobs", "supernode", "cli"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(crate_).join("src"), &mut text);
        }
        let words = Words::of(Lang::En);
        for call in ["say(\"", ".fill(\"", "head(\"", "label(\"", "fill(\n", "say(\n"] {
            for part in text.split(call).skip(1) {
                let quoted =
                    if call.ends_with('"') { part } else { part.trim_start().trim_start_matches('"') };
                let key = quoted.split('"').next().unwrap_or_default();
                let is_key =
                    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                assert!(!is_key || words.entries.contains_key(key), "no words for `{key}`");
            }
        }
        for key in words.keys().filter(|key| !key.starts_with("term-")) {
            assert!(text.contains(&format!("\"{key}\"")), "`{key}` is used nowhere");
        }
    }

    /// What the library names itself has words in every language, and words that a reader who knows no source understands.
    #[test]
    fn every_name_of_the_library_has_words() {
        let families = cost::step::Family::ALL.map(cost::step::Family::name);
        let bounds = cost::step::Bound::ALL.map(cost::step::Bound::name);
        let grades = ["measured", "official", "analyst", "rumour", "assumed"];
        let parts = hardware::origin::Component::ALL.map(hardware::origin::Component::name);
        for lang in Lang::ALL.map(Words::of) {
            for name in families.iter().chain(&bounds).chain(&grades).chain(&parts) {
                let key = format!("term-{}", name.replace(' ', "-"));
                assert!(lang.entries.contains_key(&key), "{}: no words for `{name}`", lang.lang);
            }
            for (key, words) in &lang.entries {
                assert!(!words.contains('_'), "{}: {key} = {words}", lang.lang);
            }
        }
        let en = Words::of(Lang::En);
        for raw in ["hbm", "lm head", "dense ffn", "step_time", "several-servers"] {
            assert_ne!(en.term(raw), raw);
        }
    }

    #[test]
    fn values_with_braces_stay_what_they_are() {
        let words = Words { lang: Lang::En, entries: parse("a = \"{x} and {y}\"") };
        assert_eq!(words.fill("a", &[("x", "{y}"), ("y", "2")]), "{y} and 2");
        assert_eq!(words.say("b"), "b");
        assert!("fr".parse::<Lang>().is_err());
    }
}
